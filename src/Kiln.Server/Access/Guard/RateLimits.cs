using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Threading.RateLimiting;
using Kiln.Oci;
using Kiln.Server.Access.Policies;
using Kiln.Server.Metering;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Access.Guard;

/// <summary>
/// How often one caller may ask, by the policy's limits: a bucket for each principal, and for each address for those
/// that are nobody and for wrong credentials.
/// </summary>
internal sealed class RateLimits : IDisposable
{
    private readonly Lock _changing = new();
    private Buckets? _buckets;

    /// <summary>Counts a request.</summary>
    /// <exception cref="OciException"><c>TOOMANYREQUESTS</c>, 429, with <c>Retry-After</c>.</exception>
    public void Count(HttpContext http, Caller caller, PolicyLimits limits)
    {
        if ((caller.IsAnonymous ? limits.AnonymousRequestsPerSecond : limits.RequestsPerSecond) == 0)
        {
            return;
        }

        var buckets = For(limits);
        using var lease = caller.IsAnonymous
            ? buckets.Anonymous.AttemptAcquire(Address(http))
            : buckets.Principals.AttemptAcquire(caller.Principal.Name);
        if (!lease.IsAcquired)
        {
            var whose = caller.IsAnonymous
                ? "anonymous requests from your address"
                : $"requests of {caller.Principal.Name}";
            Meters.RateLimited.Add(1, new KeyValuePair<string, object?>("reason", "requests"));
            throw TooMany(http, After(lease), $"too many {whose} in a short time");
        }
    }

    /// <summary>Refuses to look at credentials where too many from this address were wrong lately.</summary>
    /// <exception cref="OciException"><c>TOOMANYREQUESTS</c>, 429, with <c>Retry-After</c>.</exception>
    public void CheckFailures(HttpContext http, PolicyLimits limits)
    {
        if (limits.FailedLoginsPerMinute == 0)
        {
            return;
        }

        // None is taken: a right login costs nothing.
        if (For(limits).Failures.GetStatistics(Address(http)) is { CurrentAvailablePermits: 0 })
        {
            var wait = TimeSpan.FromMinutes(1) / limits.FailedLoginsPerMinute;
            Meters.RateLimited.Add(1, new KeyValuePair<string, object?>("reason", "failed-logins"));
            throw TooMany(http, wait, "too many wrong logins from your address");
        }
    }

    /// <summary>Counts wrong credentials.</summary>
    public void CountFailure(HttpContext http, PolicyLimits limits)
    {
        if (limits.FailedLoginsPerMinute > 0)
        {
            using var lease = For(limits).Failures.AttemptAcquire(Address(http));
        }
    }

    public void Dispose() => _buckets?.Dispose();

    private static TimeSpan After(RateLimitLease lease) =>
        lease.TryGetMetadata(MetadataName.RetryAfter, out var after) ? after : TimeSpan.FromSeconds(1);

    private static OciException TooMany(HttpContext http, TimeSpan wait, string message)
    {
        var seconds = Math.Max(1, (int)Math.Ceiling(wait.TotalSeconds));
        http.Response.Headers.RetryAfter = seconds.ToString(CultureInfo.InvariantCulture);
        return new OciException(ErrorCodes.TooManyRequests, $"{message}; try again in {seconds} s");
    }

    // An IPv6 host has 2^64 addresses to come from.
    private static string Address(HttpContext http)
    {
        var address = http.Connection.RemoteIpAddress ?? IPAddress.None;
        if (address.IsIPv4MappedToIPv6)
        {
            address = address.MapToIPv4();
        }

        return address.AddressFamily == AddressFamily.InterNetworkV6
            ? Convert.ToHexString(address.GetAddressBytes().AsSpan(0, 8))
            : address.ToString();
    }

    private Buckets For(PolicyLimits limits)
    {
        if (Volatile.Read(ref _buckets) is { } now && now.Limits == limits)
        {
            return now;
        }

        lock (_changing)
        {
            if (_buckets?.Limits != limits)
            {
                // The old ones are not disposed: a request may be about to use them, and they end with their last user.
                Volatile.Write(ref _buckets, new Buckets(limits));
            }

            return _buckets!;
        }
    }

    private sealed class Buckets(PolicyLimits limits) : IDisposable
    {
        public PolicyLimits Limits { get; } = limits;

        public PartitionedRateLimiter<string> Principals { get; } =
            Bucket(limits.RequestsPerSecond * limits.BurstSeconds, limits.RequestsPerSecond, TimeSpan.FromSeconds(1));

        public PartitionedRateLimiter<string> Anonymous { get; } =
            Bucket(
                limits.AnonymousRequestsPerSecond * limits.BurstSeconds,
                limits.AnonymousRequestsPerSecond,
                TimeSpan.FromSeconds(1)
            );

        public PartitionedRateLimiter<string> Failures { get; } =
            Bucket(limits.FailedLoginsPerMinute, limits.FailedLoginsPerMinute, TimeSpan.FromMinutes(1));

        public void Dispose()
        {
            Principals.Dispose();
            Anonymous.Dispose();
            Failures.Dispose();
        }

        private static PartitionedRateLimiter<string> Bucket(int size, int refill, TimeSpan period) =>
            PartitionedRateLimiter.Create<string, string>(key =>
                RateLimitPartition.GetTokenBucketLimiter(
                    key,
                    _ => new TokenBucketRateLimiterOptions
                    {
                        TokenLimit = Math.Max(1, size),
                        TokensPerPeriod = Math.Max(1, refill),
                        ReplenishmentPeriod = period,
                        QueueLimit = 0,
                        AutoReplenishment = true,
                    }
                )
            );
    }
}
