using Kiln.Node.Sandbox;

namespace Kiln.Tests.Node;

/// <summary>Which subordinate ids an account has, wherever the site keeps accounts and ranges.</summary>
public sealed class IdRangeTests : IDisposable
{
    private readonly string _file = Path.GetTempFileName();

    public void Dispose() => File.Delete(_file);

    [Theory]
    [InlineData("me:100:1000\nme:200000:65536\nme:300000:70000\n", 200000, 65536)]
    [InlineData("me:100:1000\n1000:5000:2000\n", 5000, 2000)]
    [InlineData("other:1:65536\nme:x:65536\nme:7:65536:9\n", null, null)]
    [InlineData("", null, null)]
    public void The_first_range_that_suffices_counts_else_the_largest(string lines, int? first, int? count)
    {
        File.WriteAllText(_file, lines);

        var range = IdRange.Read(_file, "me", 1000);

        Assert.Equal((first, count), ((int?)range?.First, (int?)range?.Count));
        Assert.Null(IdRange.Read(_file + ".none", "me", 1000));
    }

    [Fact]
    public void A_directory_is_asked_where_ranges_are_in_one()
    {
        Assert.Equal(new IdRange(231072, 65536), IdRange.Told("0: me 100000 100\n1: me 231072 65536\n"));
        Assert.Null(IdRange.Told("Error fetching ranges\n"));

        File.WriteAllText(_file, "passwd: files sss\n# subid: sss\nsubid: files\n");
        Assert.False(IdRange.IsElsewhere(_file));
        File.WriteAllText(_file, "passwd: files sss\nsubid:\tsss # of IPA\n");
        Assert.True(IdRange.IsElsewhere(_file));
        Assert.False(IdRange.IsElsewhere(_file + ".none"));
    }

    [Fact]
    public void An_account_of_a_directory_has_its_name()
    {
        File.WriteAllText(_file, "root:x:0:0::/:/bin/sh\nbob:x:4711:4711::/:/bin/sh\n");

        Assert.Equal("bob", UserNamespace.NameOf(4711, _file));
        // The file knows nothing of this process's account; the C library does.
        File.WriteAllText(_file, "");
        Assert.Equal(Environment.UserName, UserNamespace.NameOf(UserNamespace.Account().Uid, _file));
    }
}
