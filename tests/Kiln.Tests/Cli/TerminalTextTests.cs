using Kiln.BuildSpec;
using Kiln.Cli;
using Kiln.Cli.Progress;

namespace Kiln.Tests.Cli;

public sealed class TerminalTextTests
{
    [Theory]
    [InlineData("plain ünïcode ✓\tx\ny", "plain ünïcode ✓\tx\ny")]
    [InlineData("\u001b[31mred\u001b[0m", "red")]
    [InlineData("\u001b[2J\u001b[1;1Hx", "x")]
    [InlineData("\u001b]0;title\u0007x", "x")]
    [InlineData("\u001b]8;;http://evil\u001b\\link\u001b]8;;\u001b\\", "link")]
    [InlineData("\u001b]0;never ended", "\\x1b]0;never ended")]
    [InlineData("\u001bPq#0\u001b\\x", "x")]
    [InlineData("\u001bcx", "x")]
    [InlineData("\u009b31mx", "x")]
    [InlineData("a\u0007b\bc\u007f", "a\\x07b\\x08c\\x7f")]
    [InlineData("a\u202eb", "a\\u202eb")]
    [InlineData("\u001b[", "\\x1b[")]
    public void Nothing_in_a_text_can_steer_the_terminal(string text, string expected) =>
        Assert.Equal(expected, TerminalText.Escape(text));

    [Fact]
    public void Lines_come_whole_from_pieces_and_a_progress_bar_gives_lines_of_its_own()
    {
        var lines = new LogLines();

        Assert.Equal(["one", "two"], lines.Add("one\r\ntwo\nth"));
        Assert.Equal(["three", "10%", "20%", ""], lines.Add("ree\n10%\r20%\r\n\nend"));
        Assert.Equal("end", lines.Rest());
        Assert.Null(lines.Rest());
    }

    [Fact]
    public void A_line_without_end_is_cut()
    {
        var lines = new LogLines();

        Assert.All(lines.Add(new string('x', 100_000)), l => Assert.Equal(16 * 1024, l.Length));
        Assert.Equal(100_000 % (16 * 1024), lines.Rest()?.Length);
    }

    [Fact]
    public void A_character_cut_between_two_pieces_is_whole()
    {
        var output = new StringWriter();
        using (var writer = new LogWriter(output))
        {
            var bytes = "x✓\n"u8.ToArray();
            writer.Write(bytes.AsSpan(0, 2));
            writer.Write(bytes.AsSpan(2));
        }

        Assert.Equal("x✓\n", output.ToString());
    }

    [Fact]
    public void A_step_is_told_when_it_begins_and_when_it_ends_and_not_again()
    {
        var tracker = new StepTracker();
        var running = new BuildStep
        {
            Number = 3,
            Total = 9,
            Text = "RUN make\u001b[2J\nx",
        };
        BuildStep[] ended = [running with { Milliseconds = 2100 }];

        Assert.Equal("[3/9] RUN make x", StepTracker.Text(tracker.Update([running]).Single().Step));
        Assert.Empty(tracker.Update([running]));
        Assert.Equal("[3/9] RUN make x … 2.1s", StepTracker.Text(tracker.Update(ended).Single().Step));
        Assert.Empty(tracker.Update(ended));
    }
}
