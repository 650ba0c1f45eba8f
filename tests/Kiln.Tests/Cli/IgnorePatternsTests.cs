using Kiln.Cli.Context;

namespace Kiln.Tests.Cli;

public sealed class IgnorePatternsTests
{
    // The table of docker's documentation and moby/patternmatcher's own tests, for the rules that people use.
    [Theory]
    [InlineData("a", "a", true)]
    [InlineData("a", "a/b", true)]
    [InlineData("a", "b/a", false)]
    [InlineData("/a", "a", true)]
    [InlineData("a/", "a", true)]
    [InlineData("./a", "a", true)]
    [InlineData("a/../b", "b", true)]
    [InlineData("*.md", "README.md", true)]
    [InlineData("*.md", "docs/README.md", false)]
    [InlineData("*", "a/b", true)]
    [InlineData("*/temp*", "some/temporary.txt", true)]
    [InlineData("*/temp*", "temp", false)]
    [InlineData("*/*/temp*", "a/b/temp", true)]
    [InlineData("temp?", "tempa", true)]
    [InlineData("temp?", "temp", false)]
    [InlineData("temp?", "temp/", false)]
    [InlineData("**", "a/b", true)]
    [InlineData("**/*.go", "a.go", true)]
    [InlineData("**/*.go", "x/y/a.go", true)]
    [InlineData("**/foo", "foo", true)]
    [InlineData("**/foo", "a/b/foo", true)]
    [InlineData("**/foo", "a/xfoo", false)]
    [InlineData("**foo", "a/xfoo", true)]
    [InlineData("a/**", "a", false)]
    [InlineData("a/**", "a/b/c", true)]
    [InlineData("a/**/z", "a/z", true)]
    [InlineData("a/**/z", "a/b/c/z", true)]
    [InlineData("a/**/z", "a/bz", false)]
    [InlineData("[a-c]x", "bx", true)]
    [InlineData("[^a-c]x", "bx", false)]
    [InlineData("[^a-c]x", "dx", true)]
    [InlineData("a[b", "ab", null)]
    [InlineData(@"\*", "*", true)]
    [InlineData(@"\*", "x", false)]
    [InlineData("a.b", "axb", false)]
    [InlineData("a+b", "a+b", true)]
    [InlineData("(x)", "(x)", true)]
    [InlineData("x{1}", "x{1}", true)]
    [InlineData("$HOME", "$HOME", true)]
    [InlineData("*\n!a", "a", false)]
    [InlineData("*\n!a", "b", true)]
    [InlineData("*.md\n!README.md", "README.md", false)]
    [InlineData("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true)]
    [InlineData("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false)]
    [InlineData("a\n!a/b", "a/b", false)]
    [InlineData("a\n!a/b", "a/c", true)]
    [InlineData("a\n!a/b", "a/b/c", false)]
    [InlineData("# a", "# a", false)]
    [InlineData(" # a", "# a", true)]
    [InlineData("  a  ", "a", true)]
    [InlineData("\ufeffa", "a", true)]
    [InlineData("! a\na", "a", true)]
    [InlineData("", "a", false)]
    [InlineData("!", "a", null)]
    [InlineData(@"a\", "a", null)]
    public void A_path_is_left_out_as_docker_leaves_it_out(string lines, string path, bool? ignored)
    {
        if (ignored is null)
        {
            var e = Assert.Throws<InvalidDataException>(() => IgnorePatterns.Parse(lines.Split('\n'), "ignore"));
            Assert.StartsWith("ignore, line 1: ", e.Message);
        }
        else
        {
            Assert.Equal(ignored, IgnorePatterns.Parse(lines.Split('\n'), "ignore").IsIgnored(path));
        }
    }
}
