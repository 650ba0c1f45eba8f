using Kiln.Server.Audit;
using Kiln.Server.Configuration;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Access.Policies;

/// <summary>
/// The policy in force. Its files are looked at again at most once a second, by whoever asks, and at SIGHUP; when they
/// have changed and are right, the new ones count from then on, and when they are wrong the old ones stay.
/// </summary>
internal sealed partial class PolicyStore
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly string? _file;
    private readonly AuditLog _audit;
    private readonly TimeProvider _time;
    private readonly ILogger<PolicyStore> _log;
    private readonly Lock _reloading = new();
    private PolicyFiles.Content? _seen;
    private long _next;
    private volatile PolicyInForce _current;

    /// <exception cref="ServerStartException">The policy is wrong; the message has all faults.</exception>
    public PolicyStore(ServerOptions options, AuditLog audit, TimeProvider time, ILogger<PolicyStore> log)
    {
        (_file, _audit, _time, _log) = (options.Access.PolicyFile, audit, time, log);
        _next = Next();
        if (_file is null)
        {
            _current = new PolicyInForce(new Policy(), Logins.Htpasswd.None, 0);
            return;
        }

        var faults = new List<FileFault>();
        var loaded = PolicyFiles.Load(_file, out _seen, faults);
        Warn(faults);
        _current = loaded is { } found
            ? new PolicyInForce(found.Policy, found.Htpasswd, 1)
            : throw new ServerStartException(
                $"the policy is wrong:\n  {string.Join("\n  ", faults.Where(f => !f.IsWarning))}"
            );
    }

    /// <summary>What is in force at this moment.</summary>
    public PolicyInForce Current
    {
        get
        {
            if (_file is not null && _time.GetTimestamp() >= Volatile.Read(ref _next))
            {
                Reload();
            }

            return _current;
        }
    }

    /// <summary>Looks at the files now.</summary>
    public void Reload()
    {
        // Whoever finds another one at it goes on with the old policy, as if it had come a moment earlier.
        if (_file is null || !_reloading.TryEnter())
        {
            return;
        }

        try
        {
            Volatile.Write(ref _next, Next());
            if (PolicyFiles.Peek(_file, _current.Policy) is { } now && _seen!.Same(now))
            {
                return;
            }

            Replace();
        }
        finally
        {
            _reloading.Exit();
        }
    }

    private void Replace()
    {
        var faults = new List<FileFault>();
        var loaded = PolicyFiles.Load(_file!, out var content, faults);
        if (_seen!.Same(content))
        {
            return;
        }

        _seen = content;
        Warn(faults);
        if (loaded is { } found)
        {
            _current = new PolicyInForce(found.Policy, found.Htpasswd, _current.Generation + 1);
            LogReloaded(_log, _file!);
        }
        else
        {
            LogRefused(_log, string.Join("; ", faults.Where(f => !f.IsWarning)));
        }

        _audit.Write(
            new AuditEntry
            {
                Principal = "system",
                Action = AuditActions.PolicyReload,
                Reference = _file,
                Outcome = loaded is null ? AuditOutcomes.Refused : AuditOutcomes.Done,
            }
        );
    }

    private long Next() => _time.GetTimestamp() + (long)(Interval.TotalSeconds * _time.TimestampFrequency);

    private void Warn(List<FileFault> faults)
    {
        foreach (var fault in faults.Where(f => f.IsWarning))
        {
            LogWarning(_log, fault);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Fault}")]
    private static partial void LogWarning(ILogger log, FileFault fault);

    [LoggerMessage(Level = LogLevel.Information, Message = "the policy {File} has changed and is in force")]
    private static partial void LogReloaded(ILogger log, string file);

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "the policy has changed and is wrong; the old one stays: {Faults}"
    )]
    private static partial void LogRefused(ILogger log, string faults);
}
