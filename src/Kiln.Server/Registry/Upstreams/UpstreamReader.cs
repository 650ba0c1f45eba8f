using Kiln.Client.Transport;
using Kiln.Oci;
using Kiln.Server.Configuration;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Registry.Upstreams;

/// <summary>From options to upstreams. What is wrong with the options is told in sentences, all of it at once.</summary>
internal static class UpstreamReader
{
    public static List<Upstream> Read(
        IReadOnlyList<UpstreamOptions> all,
        TimeProvider time,
        ILogger log,
        List<string> faults
    )
    {
        var upstreams = new List<Upstream>();
        foreach (var options in all)
        {
            var before = faults.Count;
            var prefix = Prefix(options, faults);
            var allow = Patterns(options, options.Allow, faults);
            var deny = Patterns(options, options.Deny, faults);
            CheckHost(options, faults);
            CheckUrls(options, faults);
            CheckLogin(options, faults);
            CheckNumbers(options, faults);
            if (upstreams.Find(u => u.Host.Equals(options.Host, StringComparison.OrdinalIgnoreCase)) is not null)
            {
                faults.Add($"the upstream {options.Host} is there twice");
            }

            if (prefix is not null && upstreams.Find(u => Overlaps(u.Prefix.Value, prefix.Value)) is { } other)
            {
                faults.Add(
                    $"the upstreams {other.Host} and {options.Host} have the prefixes {other.Prefix} and {prefix}, of which one is in the other"
                );
            }

            if (faults.Count == before)
            {
                upstreams.Add(new Upstream(options, prefix!, allow, deny, time, log));
            }
        }

        return upstreams;
    }

    private static RepositoryName? Prefix(UpstreamOptions options, List<string> faults)
    {
        if (RepositoryName.TryParse(options.Prefix ?? options.Host, out var prefix))
        {
            return prefix;
        }

        faults.Add(
            options.Prefix is null
                ? $"the upstream {options.Host} needs a prefix, since its name cannot be the beginning of a repository's"
                : $"the prefix '{options.Prefix}' of the upstream {options.Host} is not the name of a repository"
        );
        return null;
    }

    private static List<RepositoryPattern> Patterns(
        UpstreamOptions options,
        IReadOnlyList<string> texts,
        List<string> faults
    )
    {
        var patterns = new List<RepositoryPattern>();
        foreach (var text in texts)
        {
            if (text.Contains("{user}", StringComparison.Ordinal))
            {
                faults.Add($"the pattern '{text}' of the upstream {options.Host} cannot be about {{user}}");
            }
            else if (RepositoryPattern.TryParse(text, out var pattern, out var fault))
            {
                patterns.Add(pattern);
            }
            else
            {
                faults.Add($"the pattern '{text}' of the upstream {options.Host} {fault}");
            }
        }

        return patterns;
    }

    private static void CheckHost(UpstreamOptions options, List<string> faults)
    {
        if (!Reference.TryParse($"{options.Host}/name", out var reference) || reference.Host != options.Host)
        {
            faults.Add($"the upstream '{options.Host}' is not a registry's name, such as docker.io or localhost:5001");
        }
    }

    private static void CheckUrls(UpstreamOptions options, List<string> faults)
    {
        foreach (var url in options.Urls)
        {
            var path = url.IsAbsoluteUri ? url.AbsolutePath.Trim('/') : "";
            if (
                !url.IsAbsoluteUri
                || url.Scheme is not ("http" or "https")
                || url.UserInfo.Length + url.Query.Length + url.Fragment.Length > 0
                || (path.Length > 0 && !RepositoryName.TryParse(path, out _))
            )
            {
                faults.Add(
                    $"an address of the upstream {options.Host} is not of the form https://HOST[:PORT][/REPOSITORY]; credentials are in files"
                );
            }
            else if (url.Scheme == "http" && HasLogin(options) && !RegistryAddress.IsLoopback(url.Authority))
            {
                faults.Add(
                    $"the credentials for the upstream {options.Host} would go to {url.Authority} without TLS; use https"
                );
            }
        }
    }

    private static void CheckLogin(UpstreamOptions options, List<string> faults)
    {
        if (
            options.User is null != options.PasswordFile is null
            || (options.User is not null && options.TokenFile is not null)
        )
        {
            faults.Add(
                $"the upstream {options.Host} has either a user and a password file, or a token file, or neither"
            );
        }

        foreach (var file in new[] { options.PasswordFile, options.TokenFile })
        {
            if (file is not null && !File.Exists(file))
            {
                faults.Add($"the upstream {options.Host} has its credentials in {file}, which is not there");
            }
        }
    }

    private static void CheckNumbers(UpstreamOptions options, List<string> faults)
    {
        if (
            options.TagAge < TimeSpan.Zero
            || options.AbsenceAge < TimeSpan.Zero
            || options.FetchTime <= TimeSpan.Zero
            || options.AnswerTime <= TimeSpan.Zero
            || options.MaxFetches < 1
        )
        {
            faults.Add($"the upstream {options.Host} has a time or a number below what makes sense");
        }
    }

    private static bool HasLogin(UpstreamOptions options) => options.User is not null || options.TokenFile is not null;

    private static bool Overlaps(string a, string b) =>
        a == b || a.StartsWith(b + "/", StringComparison.Ordinal) || b.StartsWith(a + "/", StringComparison.Ordinal);
}
