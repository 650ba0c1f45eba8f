using System.CommandLine;
using System.CommandLine.Parsing;
using Kiln.BuildSpec;
using Kiln.BuildSpec.Recipes;

namespace Kiln.Cli.Verbs;

/// <summary>The options of <c>kiln build</c> that say under which conditions it builds (build-extension, J-1).</summary>
internal sealed class RequestOptions
{
    private const string ReproducibleVariable = "SOURCE_DATE_EPOCH";

    private readonly Option<int?> _cpus = Arguments.Whole("--cpus", "Processors that one build needs.");

    private readonly Option<long?> _memory = Size("--memory", "Memory that one build needs");
    private readonly Option<long?> _disk = Size("--disk", "Disk space that one build needs");

    private readonly Option<int?> _gpus = Arguments.Whole("--gpus", "Graphics processors that one build needs.");

    private readonly Option<string[]> _backend = new("--backend")
    {
        Description = "A parameter that only the node's batch system understands, for example partition=long.",
        HelpName = "KEY=VALUE",
    };

    private readonly Option<string?> _cache = new("--cache")
    {
        Description =
            "reuse: a finished identical build is the answer. refresh: only if its bases are still the same. none: everything anew.",
        HelpName = "POLICY",
    };

    private readonly Option<bool> _noCache = new("--no-cache") { Description = "The same as --cache none." };

    private readonly Option<int?> _maxAge = Arguments.Seconds(
        "--max-age",
        "Reuse only what was built at most so long ago."
    );

    private readonly Option<int?> _queue = Arguments.Seconds(
        "--queue-timeout",
        "How long the build may wait for a node."
    );

    private readonly Option<long?> _epoch = new("--source-date-epoch")
    {
        Description =
            $"Every time stamp of the image, in seconds since 1970, so that equal builds are equal; otherwise ${ReproducibleVariable}, or as they come.",
        HelpName = "SECONDS",
        CustomParser = result => Arguments.Whole(result, 0, long.MaxValue),
    };

    private readonly Option<string?> _emulation = new("--emulation")
    {
        Description =
            "denied: build on machines whose processor is the target's, or not at all. allowed: where there is none, by emulation too.",
        HelpName = "allowed|denied",
    };

    private readonly Option<string?> _tagPolicy = new("--tag-policy")
    {
        Description =
            "create-only: move no tag that is there. if-unchanged: none that somebody else has moved meanwhile.",
        HelpName = "POLICY",
    };

    private readonly Option<bool> _partial = new("--partial")
    {
        Description = "Deliver the platforms that succeed where others fail.",
    };

    private readonly Option<string[]> _output = new("--output", "-o")
    {
        Description =
            "Deliver the image in another format as well: sif, squashfs or single-layer, with :zstd, :gzip or :lz4; or oci:zstd for the image's own layers.",
        HelpName = "FORMAT[:COMPRESSION]",
    };

    private readonly Option<bool> _flatten = new("--flatten")
    {
        Description =
            "Give all files to one user and leave no set-id bits and capabilities; the job says what that changed.",
    };

    public RequestOptions()
    {
        _cache.AcceptOnlyFromAmong(CachePolicies.Reuse, CachePolicies.Refresh, CachePolicies.None);
        _emulation.AcceptOnlyFromAmong(EmulationModes.Allowed, EmulationModes.Denied);
        _tagPolicy.AcceptOnlyFromAmong(TagPolicies.CreateOnly, TagPolicies.IfUnchanged);
    }

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (
            var option in (Option[])
                [
                    _cpus,
                    _memory,
                    _disk,
                    _gpus,
                    _backend,
                    _cache,
                    _noCache,
                    _maxAge,
                    _queue,
                    _epoch,
                    _emulation,
                    _tagPolicy,
                    _partial,
                    _output,
                    _flatten,
                ]
        )
        {
            command.Add(option);
        }
    }

    /// <summary>What the command line says, as the members of a request that it fills; all others are null.</summary>
    /// <exception cref="CommandFailure">Two options contradict each other, or a value is none.</exception>
    public JobRequest Read(ParseResult parsed, Shell shell)
    {
        var resources = new BuildResources
        {
            Cpus = parsed.GetValue(_cpus),
            MemoryBytes = parsed.GetValue(_memory),
            DiskBytes = parsed.GetValue(_disk),
            Gpus = parsed.GetValue(_gpus),
        };
        var asked = resources.List().Any(r => r.Value is not null);
        var backend = RecipeOptions.Pairs(parsed.GetValue(_backend), "--backend");
        var outputs = parsed
            .GetValue(_output)
            ?.SelectMany(o => o.Split(',', StringSplitOptions.RemoveEmptyEntries))
            .Select(OutputFormats.Parse)
            .ToList();
        var epoch = Epoch(parsed, shell);
        return new JobRequest
        {
            Resources = asked ? resources : null,
            Backend = backend.Count == 0 ? null : backend,
            Cache = Cache(parsed),
            QueueSeconds = parsed.GetValue(_queue),
            Reproducible = epoch is null ? null : new ReproducibleOptions { SourceDateEpoch = epoch },
            Emulation = parsed.GetValue(_emulation),
            TagPolicy = parsed.GetValue(_tagPolicy),
            Partial = parsed.GetValue(_partial) ? true : null,
            Outputs = outputs is { Count: > 0 } ? outputs : null,
            Flatten = parsed.GetValue(_flatten) ? true : null,
            // A registry that ignores one of these would do something else than what was asked for.
            MustUnderstand = MustUnderstand(
                ("resources", asked),
                ("backend", backend.Count > 0),
                ("reproducible", epoch is not null),
                ("emulation", parsed.GetValue(_emulation) == EmulationModes.Denied),
                ("outputs", outputs is { Count: > 0 }),
                ("flatten", parsed.GetValue(_flatten)),
                ("tagPolicy", parsed.GetValue(_tagPolicy) is not null)
            ),
        };
    }

    private static List<string>? MustUnderstand(params (string Name, bool Asked)[] members)
    {
        var names = members.Where(m => m.Asked).Select(m => m.Name).ToList();
        return names.Count == 0 ? null : names;
    }

    private CacheOptions? Cache(ParseResult parsed)
    {
        var policy = parsed.GetValue(_cache);
        var age = parsed.GetValue(_maxAge);
        if (parsed.GetValue(_noCache))
        {
            if (policy is not (null or CachePolicies.None))
            {
                throw CommandFailure.Usage($"--no-cache and --cache {policy} contradict each other; leave one out");
            }

            policy = CachePolicies.None;
        }

        if (policy == CachePolicies.None && age is not null)
        {
            throw CommandFailure.Usage("--max-age says what may be reused, but without a cache nothing is");
        }

        return policy is null && age is null ? null : new CacheOptions { Policy = policy, MaxAgeSeconds = age };
    }

    /// <summary>The variable is what other builders read too (reproducible-builds.org, SOURCE_DATE_EPOCH).</summary>
    private long? Epoch(ParseResult parsed, Shell shell)
    {
        if (parsed.GetValue(_epoch) is { } said)
        {
            return said;
        }

        return shell.Variable(ReproducibleVariable) is not { Length: > 0 } text ? null
            : long.TryParse(text, out var seconds) && seconds >= 0 ? seconds
            : throw CommandFailure.Usage($"${ReproducibleVariable} is '{text}'; it has to be seconds since 1970");
    }

    private static Option<long?> Size(string name, string description) =>
        new(name)
        {
            Description = $"{description}: bytes, or for example 500M or 8GiB.",
            HelpName = "SIZE",
            CustomParser = SizeArgument.ParseOptional,
        };
}
