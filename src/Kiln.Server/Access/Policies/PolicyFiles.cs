using System.Text;
using Kiln.Server.Access.Logins;
using Kiln.Server.Configuration;

namespace Kiln.Server.Access.Policies;

/// <summary>A policy with the passwords that go with it, as they are in force together.</summary>
/// <param name="Generation">Another one for everything that was ever in force in this process.</param>
internal sealed record PolicyInForce(Policy Policy, Htpasswd Htpasswd, long Generation);

/// <summary>Reads the policy file and what it names, as one.</summary>
internal static class PolicyFiles
{
    private const int MaxBytes = 16 << 20;

    /// <summary>The bytes of the files in one, so that a change of any is seen.</summary>
    internal sealed record Content(string File, byte[] Policy, byte[]? Htpasswd)
    {
        public bool Same(Content other) =>
            Policy.AsSpan().SequenceEqual(other.Policy)
            && Htpasswd is null == other.Htpasswd is null
            && Htpasswd.AsSpan().SequenceEqual(other.Htpasswd);
    }

    /// <summary>Reads and checks; all faults of all files come at once.</summary>
    /// <returns>Null where something is wrong.</returns>
    public static (Policy Policy, Htpasswd Htpasswd)? Load(string file, out Content content, List<FileFault> faults)
    {
        var policyBytes = Bytes(file, faults);
        content = new Content(file, policyBytes ?? [], null);
        if (policyBytes is null)
        {
            return null;
        }

        var policy = PolicyReader.Read(Encoding.UTF8.GetString(policyBytes), file, out var found);
        faults.AddRange(found);
        var htpasswd = Htpasswd.None;
        if (policy?.HtpasswdFile is { } path && Bytes(path, faults) is { } bytes)
        {
            content = content with { Htpasswd = bytes };
            htpasswd = Htpasswd.Parse(Encoding.UTF8.GetString(bytes), path, faults);
            WarnOfUnknownUsers(policy, htpasswd, file, faults);
        }

        return policy is null || faults.Exists(f => !f.IsWarning) ? null : (policy, htpasswd);
    }

    /// <summary>The files as they are now; null where nothing but an error would come of it.</summary>
    public static Content? Peek(string file, Policy policy)
    {
        var ignored = new List<FileFault>();
        var bytes = Bytes(file, ignored);
        var htpasswd = policy.HtpasswdFile is { } path ? Bytes(path, ignored) : null;
        return bytes is null || ignored.Count > 0 ? null : new Content(file, bytes, htpasswd);
    }

    private static byte[]? Bytes(string file, List<FileFault> faults)
    {
        try
        {
            if (new FileInfo(file).Length <= MaxBytes)
            {
                return File.ReadAllBytes(file);
            }

            faults.Add(new(file, 0, $"has more than {MaxBytes} bytes"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            faults.Add(new(file, 0, $"cannot be read: {e.Message}"));
        }

        return null;
    }

    private static void WarnOfUnknownUsers(Policy policy, Htpasswd htpasswd, string file, List<FileFault> faults)
    {
        foreach (var rule in policy.Rules)
        {
            foreach (var name in rule.Who.OfType<Member.Named>())
            {
                if (
                    name.Issuer is null
                    && !name.Pattern.Contains('*', StringComparison.Ordinal)
                    && htpasswd.Find(name.Pattern) is null
                )
                {
                    faults.Add(
                        new(
                            file,
                            rule.Line,
                            $"grants something to '{name.Pattern}', who is not in {policy.HtpasswdFile}",
                            IsWarning: true
                        )
                    );
                }
            }
        }
    }
}
