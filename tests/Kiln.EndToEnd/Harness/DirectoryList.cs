namespace Kiln.EndToEnd.Harness;

/// <summary>What the ordinary user's directories hold.</summary>
internal static class DirectoryList
{
    /// <summary>Asserts that nothing is in a directory, once what goes had a moment: a build's own goes right after its end was told.</summary>
    public static async Task IsEmptyAsync(Machine machine, string directory)
    {
        for (var tries = 0; tries < 50 && Names().Length > 0; tries++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(100));
        }
        Assert.Equal("", Names());

        string Names() => machine.RunAsUser("ls", "-A", directory).Ok().Output.Trim();
    }
}
