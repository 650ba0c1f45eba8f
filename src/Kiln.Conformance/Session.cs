using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Kiln.Conformance.Node;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance;

/// <summary>One run: the registry, and what its checks have found out about it for each other.</summary>
internal sealed class Session : IDisposable
{
    private readonly Connection _connection;
    private JsonNode? _info;
    private PlayedNode? _node;

    public Session(ConformanceOptions options, CancellationToken cancel)
    {
        Options = options;
        Cancel = cancel;
        _connection = new Connection(options);
    }

    public ConformanceOptions Options { get; }

    /// <summary>Ends the check that is under way.</summary>
    public CancellationToken Cancel { get; set; }

    /// <summary>What is tidied up after the check that is under way, whatever comes of that.</summary>
    public List<Func<Task>> Afterwards { get; } = [];

    public string Host => _connection.Host;
    public string Repository => Options.Repository;
    public string Other => Options.OtherRepository;

    /// <summary>A path of the repository that the run writes into.</summary>
    public string At(string path) => $"/v2/{Repository}/{path}";

    public Task<Answer> SendAsync(Call call) =>
        _connection.SendAsync(
            call.Method is "GET" or "HEAD"
            && call.Path.Contains("/manifests/", StringComparison.Ordinal)
            && !call.Headers.Any(header => header.Name == "Accept")
                // A registry may say that what it has is not there for who does not accept it.
                ? call.With("Accept", $"{Types.Manifest}, {Types.Index}")
                : call,
            Cancel
        );

    public Task<Answer> GetAsync(string path) => SendAsync(new Call("GET", path));

    public Task<Answer> HeadAsync(string path) => SendAsync(new Call("HEAD", path));

    public Task<Answer> DeleteAsync(string path) => SendAsync(new Call("DELETE", path));

    public Task<HttpResponseMessage> OpenAsync(Call call) => _connection.OpenAsync(call, Cancel);

    /// <summary>What was sent since the last time that this was asked.</summary>
    public IReadOnlyList<string> TakeExchanges()
    {
        lock (_connection.Exchanges)
        {
            var lines = _connection.Exchanges.ToArray();
            _connection.Exchanges.Clear();
            return lines;
        }
    }

    /// <summary>A word that nobody has used, of lower-case letters and digits.</summary>
    public static string Unique() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6));

    /// <summary>The registry's <c>info</c>; a registry that has none leaves the check unsupported.</summary>
    public async Task<JsonNode> InfoAsync()
    {
        if (_info is not null)
        {
            return _info;
        }

        var answer = await GetAsync("/v2/_build/v1/info");
        if (answer.Status == 404)
        {
            throw new UnsupportedException("the registry has no _build extension: its info is not there");
        }

        answer.Needed("info");
        try
        {
            return _info = JsonNode.Parse(answer.Body) ?? throw new SkippedException("info is null");
        }
        catch (System.Text.Json.JsonException e)
        {
            throw new SkippedException($"info is needed first, and is no JSON: {e.Message}");
        }
    }

    /// <summary>The build node that the run plays, where it may.</summary>
    public async Task<PlayedNode> NodeAsync()
    {
        if (_node is null)
        {
            _node = await PlayedNode.StartAsync(this);
            // What can be built has changed with it.
            _info = null;
        }

        return _node;
    }

    /// <summary>Lets a request that is held reach the registry before what it waits for happens.</summary>
    public Task LetPassAsync() => Task.Delay(TimeSpan.FromMilliseconds(300), Cancel);

    /// <summary>Asks until something is so; fails when it takes longer than the run is patient.</summary>
    public async Task<T> UntilAsync<T>(Func<Task<T?>> ask, string what)
        where T : class
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        limit.CancelAfter(Options.Patience);
        while (true)
        {
            if (await ask() is { } found)
            {
                return found;
            }

            try
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100), limit.Token);
            }
            catch (OperationCanceledException) when (!Cancel.IsCancellationRequested)
            {
                throw new CheckFailedException($"{what} did not happen within {Options.Patience.TotalSeconds} s");
            }
        }
    }

    public void Dispose() => _connection.Dispose();
}
