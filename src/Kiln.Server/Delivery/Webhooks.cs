using System.Data.Common;
using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Configuration;
using Kiln.Server.Metadata;
using Microsoft.Extensions.Hosting;

namespace Kiln.Server.Delivery;

/// <summary>
/// Tells those whom the operator named of what is pushed and deleted, whoever did it: a client, a build, the collector.
/// </summary>
internal sealed class Webhooks : IDeliveryTargets, IHostedService
{
    private const string TypePrefix = "io.github.kiln-registry.";

    private readonly Dictionary<string, Receiver> _receivers = new(StringComparer.Ordinal);
    private readonly string _origin;
    private readonly Database _database;
    private readonly Outbox _outbox;
    private readonly TimeProvider _time;

    /// <exception cref="ServerStartException">A file with a secret cannot be used.</exception>
    public Webhooks(ServerOptions options, Database database, Outbox outbox, TimeProvider time)
    {
        (_database, _outbox, _time) = (database, outbox, time);
        _origin = (options.Access.PublicUrl ?? "").TrimEnd('/');
        foreach (var hook in options.Events.Webhooks)
        {
            var target = new DeliveryTarget
            {
                Url = new Uri(hook.Url),
                Keys = Signature.Read(hook.SecretFile),
                IsTrusted = true,
                Origin = _origin.Length == 0 ? null : new Uri(_origin).Authority,
            };
            if (!_receivers.TryAdd(Prefix + hook.Name, new Receiver(hook, Patterns(hook), target)))
            {
                throw new ServerStartException($"there are two webhooks named '{hook.Name}'");
            }
        }
    }

    public string Prefix => "webhook:";

    public DeliveryTarget? Find(string id) => _receivers.GetValueOrDefault(id)?.Target;

    /// <summary>Makes them known to the outbox, and forgets those that are not in the configuration any more.</summary>
    public Task StartAsync(CancellationToken cancellationToken) =>
        _database.WriteAsync(
            transaction =>
            {
                var known = transaction.Query("SELECT id FROM delivery_targets", row => row.GetString(0));
                foreach (var id in known.Where(id => id.StartsWith(Prefix, StringComparison.Ordinal)))
                {
                    if (!_receivers.ContainsKey(id))
                    {
                        Outbox.Remove(transaction, id);
                    }
                }

                foreach (var (id, receiver) in _receivers)
                {
                    Outbox.Register(transaction, id, receiver.Options.Url);
                }
            },
            cancellationToken
        );

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>A manifest was pushed.</summary>
    /// <param name="tags">Tags that now point at it.</param>
    /// <param name="by">Who pushed it.</param>
    public void Pushed(
        DbTransaction transaction,
        RepositoryName repository,
        Digest digest,
        ManifestInfo manifest,
        long size,
        IReadOnlyList<Tag> tags,
        string by
    ) =>
        Tell(
            transaction,
            WebhookOptions.Push,
            "manifest.pushed.v1",
            repository,
            $"{repository}@{digest}",
            json =>
            {
                json.WriteString("digest", digest.ToString());
                json.WriteString("mediaType", manifest.MediaType);
                json.WriteNumber("size", size);
                WriteIfThere(json, "artifactType", manifest.EffectiveArtifactType);
                WriteIfThere(json, "subject", manifest.Subject?.Digest.ToString());
                Write(json, "tags", tags.Select(t => t.Value));
                json.WriteString("by", by);
            }
        );

    /// <summary>A manifest was deleted, and with it its tags.</summary>
    public void Deleted(
        DbTransaction transaction,
        RepositoryName repository,
        Digest digest,
        IReadOnlyList<string> tags
    ) =>
        Tell(
            transaction,
            WebhookOptions.Delete,
            "manifest.deleted.v1",
            repository,
            $"{repository}@{digest}",
            json =>
            {
                json.WriteString("digest", digest.ToString());
                Write(json, "tags", tags);
            }
        );

    /// <summary>A tag was deleted; its manifest stays.</summary>
    public void Untagged(DbTransaction transaction, RepositoryName repository, string tag) =>
        Tell(
            transaction,
            WebhookOptions.Delete,
            "tag.deleted.v1",
            repository,
            $"{repository}:{tag}",
            json => json.WriteString("tag", tag)
        );

    private void Tell(
        DbTransaction transaction,
        string kind,
        string type,
        RepositoryName repository,
        string subject,
        Action<Utf8JsonWriter> data
    )
    {
        (string Id, byte[] Body)? told = null;
        foreach (var (target, receiver) in _receivers)
        {
            if (receiver.Wants(kind, repository))
            {
                told ??= Write(type, repository, subject, data);
                _outbox.Add(transaction, target, told.Value.Id, told.Value.Body);
            }
        }
    }

    private (string Id, byte[] Body) Write(
        string type,
        RepositoryName repository,
        string subject,
        Action<Utf8JsonWriter> data
    )
    {
        var id = Ids.New(_time);
        var body = CloudEvent.Write(
            id,
            TypePrefix + type,
            $"{_origin}/v2/{repository}",
            subject,
            _time.GetUtcNow(),
            json =>
            {
                json.WriteString("repository", repository.Value);
                data(json);
            }
        );
        return (id, body);
    }

    private static void WriteIfThere(Utf8JsonWriter json, string name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    private static void Write(Utf8JsonWriter json, string name, IEnumerable<string> values)
    {
        json.WriteStartArray(name);
        foreach (var value in values)
        {
            json.WriteStringValue(value);
        }

        json.WriteEndArray();
    }

    private static IReadOnlyList<RepositoryPattern> Patterns(WebhookOptions hook) =>
        [
            .. hook.Repositories.Select(text =>
                RepositoryPattern.TryParse(text, out var pattern, out var fault)
                    ? pattern
                    : throw new ServerStartException($"the webhook '{hook.Name}': '{text}' {fault}")
            ),
        ];

    private sealed record Receiver(
        WebhookOptions Options,
        IReadOnlyList<RepositoryPattern> Patterns,
        DeliveryTarget Target
    )
    {
        public bool Wants(string kind, RepositoryName repository) =>
            Options.Events.Contains(kind, StringComparer.Ordinal)
            && Patterns.Any(p => p.Matches(repository.Value, user: null));
    }
}
