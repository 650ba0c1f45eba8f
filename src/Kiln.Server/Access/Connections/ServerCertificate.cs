using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Logging;

namespace Kiln.Server.Access.Connections;

/// <summary>
/// The certificate for TLS, out of PEM files that may change while the server runs: they are looked at again at most
/// once a second, when a connection comes, and at SIGHUP. While new ones are wrong the old ones stay.
/// </summary>
internal sealed partial class ServerCertificate : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly string _certificateFile;
    private readonly string _keyFile;
    private readonly TimeProvider _time;
    private readonly ILogger<ServerCertificate> _log;
    private readonly Lock _loading = new();
    private (DateTime, DateTime, long, long) _seen;
    private long _next;
    private volatile SslStreamCertificateContext _current;

    /// <exception cref="ServerStartException">The files cannot be used.</exception>
    public ServerCertificate(ServerOptions options, TimeProvider time, ILogger<ServerCertificate> log)
    {
        (_certificateFile, _keyFile) = (options.Access.CertificateFile!, options.Access.KeyFile!);
        (_time, _log) = (time, log);
        _seen = Look();
        _next = Next();
        try
        {
            _current = Load();
        }
        catch (Exception e) when (IsBadFile(e))
        {
            throw new ServerStartException(
                $"cannot use the certificate {_certificateFile} with the key {_keyFile}: {e.Message}",
                e
            );
        }
    }

    /// <summary>How a connection is to be secured at this moment: TLS 1.2 at least.</summary>
    public SslServerAuthenticationOptions Handshake()
    {
        if (_time.GetTimestamp() >= Volatile.Read(ref _next))
        {
            Reload();
        }

        return new SslServerAuthenticationOptions
        {
            ServerCertificateContext = _current,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            ApplicationProtocols = [SslApplicationProtocol.Http2, SslApplicationProtocol.Http11],
        };
    }

    /// <summary>Looks at the files now.</summary>
    public void Reload()
    {
        if (!_loading.TryEnter())
        {
            return;
        }

        try
        {
            Volatile.Write(ref _next, Next());
            var now = Look();
            if (now != _seen)
            {
                _seen = now;
                _current = Load();
                LogReloaded(_log, _certificateFile);
            }
        }
        catch (Exception e) when (IsBadFile(e))
        {
            LogRefused(_log, _certificateFile, e.Message);
        }
        finally
        {
            _loading.Exit();
        }
    }

    public void Dispose() => _current.TargetCertificate.Dispose();

    private SslStreamCertificateContext Load()
    {
        var leaf = X509Certificate2.CreateFromPemFile(_certificateFile, _keyFile);
        var chain = new X509Certificate2Collection();
        chain.ImportFromPemFile(_certificateFile);
        // Offline: a handshake must not wait for somebody's download.
        return SslStreamCertificateContext.Create(leaf, chain, offline: true);
    }

    private (DateTime, DateTime, long, long) Look()
    {
        var (certificate, key) = (new FileInfo(_certificateFile), new FileInfo(_keyFile));
        return (
            certificate.LastWriteTimeUtc,
            key.LastWriteTimeUtc,
            certificate.Exists ? certificate.Length : -1,
            key.Exists ? key.Length : -1
        );
    }

    private long Next() => _time.GetTimestamp() + (long)(Interval.TotalSeconds * _time.TimestampFrequency);

    private static bool IsBadFile(Exception e) =>
        e is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException;

    [LoggerMessage(Level = LogLevel.Information, Message = "the certificate {File} has changed and is in use")]
    private static partial void LogReloaded(ILogger log, string file);

    [LoggerMessage(
        Level = LogLevel.Error,
        Message = "the certificate {File} has changed and cannot be used, the old one stays: {Why}"
    )]
    private static partial void LogRefused(ILogger log, string file, string why);
}
