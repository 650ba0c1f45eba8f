using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Kiln.TestPrograms;

/// <summary>
/// nginx before several servers: each request goes to the next one, whoever sends it, and no body is gathered first. As
/// docs/guide/replicas.md has it, without TLS.
/// </summary>
internal sealed class RoundRobin : IDisposable
{
    private const string Script = """
        dir=$(mktemp -d "${TMPDIR:-/tmp}/kiln-nginx-XXXXXX")
        trap 'rm -rf "$dir"' EXIT
        cat >"$dir/nginx.conf" <<END
        daemon off;
        master_process off;
        error_log $dir/error.log;
        pid $dir/nginx.pid;
        events { worker_connections 1024; }
        http {
            access_log off;
            client_body_temp_path $dir/body;
            proxy_temp_path $dir/proxy;
            fastcgi_temp_path $dir/fastcgi;
            uwsgi_temp_path $dir/uwsgi;
            scgi_temp_path $dir/scgi;
            upstream kiln { $SERVERS }
            server {
                listen 127.0.0.1:$PORT;
                client_max_body_size 0;
                large_client_header_buffers 4 32k;
                location / {
                    proxy_pass http://kiln;
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    proxy_set_header Host \$http_host;
                    proxy_request_buffering off;
                    proxy_buffering off;
                    proxy_buffer_size 64k;
                    proxy_buffers 4 64k;
                    proxy_read_timeout 1h;
                }
            }
        }
        END
        nginx -p "$dir" -c "$dir/nginx.conf" 2>"$dir/start.log" &
        pid=$!
        for try in $(seq 300); do
            ! [ -s "$dir/nginx.pid" ] || break
            kill -0 "$pid" 2>/dev/null || { cat "$dir/start.log" >&2; exit 1; }
            sleep 0.02
        done
        echo "ready $PORT"
        cat >/dev/null
        kill "$pid"
        wait "$pid" || true
        """;

    private readonly TestProgram _program;

    private RoundRobin(TestProgram program) => _program = program;

    /// <summary>Whether this machine has nginx.</summary>
    public static bool IsHere => File.Exists("/usr/sbin/nginx");

    /// <summary>The address that clients use.</summary>
    public string Url => $"http://127.0.0.1:{_program.Words}";

    /// <param name="servers">As <c>127.0.0.1:PORT</c>.</param>
    public static RoundRobin Start(params IReadOnlyList<string> servers) => StartOn(FreePort(), servers);

    /// <summary>As <see cref="Start"/>, at a port that servers may have been told before.</summary>
    public static RoundRobin StartOn(int port, params IReadOnlyList<string> servers)
    {
        var list = string.Concat(servers.Select(server => $"server {server}; "));
        return new RoundRobin(
            TestProgram.Start(
                Script,
                asSelf: true,
                $"SERVERS={list}",
                $"PORT={port.ToString(CultureInfo.InvariantCulture)}"
            )
        );
    }

    public void Dispose() => _program.Dispose();

    /// <summary>A port of 127.0.0.1 that nobody listens on.</summary>
    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
