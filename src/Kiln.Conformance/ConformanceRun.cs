using System.Diagnostics;
using Kiln.Conformance.Wire;

namespace Kiln.Conformance;

/// <summary>Runs the checks against a registry, one after the other.</summary>
public static class ConformanceRun
{
    /// <summary>Every check that a run with these options would make.</summary>
    /// <exception cref="ConformanceException">A category or a check is named that there is not.</exception>
    public static IReadOnlyList<Check> Plan(ConformanceOptions options)
    {
        foreach (var category in options.Categories)
        {
            if (!Categories.All.Contains(category, StringComparer.Ordinal))
            {
                throw new ConformanceException(
                    $"there is no category '{category}'; there are {string.Join(", ", Categories.All)}"
                );
            }
        }

        foreach (var only in options.Only)
        {
            if (!CheckTable.All.Any(check => check.Id.StartsWith(only, StringComparison.Ordinal)))
            {
                throw new ConformanceException($"there is no check '{only}'; --list shows all");
            }
        }

        return
        [
            .. CheckTable.All.Where(check =>
                (options.Categories.Count == 0 || options.Categories.Contains(check.Category, StringComparer.Ordinal))
                && (
                    options.Only.Count == 0
                    || options.Only.Any(only => check.Id.StartsWith(only, StringComparison.Ordinal))
                )
            ),
        ];
    }

    /// <param name="told">Hears each result as it comes.</param>
    /// <exception cref="ConformanceException">There is no registry at the address.</exception>
    public static async Task<IReadOnlyList<CheckResult>> RunAsync(
        ConformanceOptions options,
        Action<CheckResult>? told,
        CancellationToken cancel
    )
    {
        var plan = Plan(options);
        using var session = new Session(options, cancel);
        await ReachAsync(session);
        var results = new List<CheckResult>();
        foreach (var check in plan)
        {
            var result = await RunAsync(check, session, options, cancel);
            results.Add(result);
            told?.Invoke(result);
        }

        return results;
    }

    private static async Task ReachAsync(Session session)
    {
        try
        {
            await session.GetAsync("/v2/");
        }
        catch (CheckFailedException e)
        {
            throw new ConformanceException($"no registry at {session.Options.Url}: {e.Message}", e);
        }

        session.TakeExchanges();
    }

    private static async Task<CheckResult> RunAsync(
        Check check,
        Session session,
        ConformanceOptions options,
        CancellationToken cancel
    )
    {
        var started = Stopwatch.GetTimestamp();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(options.CheckTimeout);
        session.Cancel = limit.Token;
        Outcome outcome;
        string? reason = null;
        try
        {
            var left = options.Left.FirstOrDefault(l => check.Id.StartsWith(l.Key, StringComparison.Ordinal));
            if (left.Value is not null)
            {
                throw new SkippedException(left.Value);
            }

            await RequireCategoryAsync(check, session);
            await check.Body(session);
            outcome = Outcome.Pass;
        }
        catch (Exception e) when (!cancel.IsCancellationRequested)
        {
            (outcome, reason) = e switch
            {
                CheckFailedException => (Outcome.Fail, e.Message),
                UnsupportedException => (Outcome.Unsupported, e.Message),
                SkippedException => (Outcome.Skipped, e.Message),
                OperationCanceledException => (Outcome.Fail, $"took longer than {options.CheckTimeout.TotalSeconds} s"),
                _ => (Outcome.Fail, $"the answer cannot be understood ({e.GetType().Name}: {e.Message})"),
            };
        }

        session.Cancel = cancel;
        var duration = Stopwatch.GetElapsedTime(started);
        var exchanges = session.TakeExchanges();
        await TidyAsync(session);
        return new CheckResult(check, outcome, reason, duration, exchanges);
    }

    private static async Task TidyAsync(Session session)
    {
        foreach (var last in session.Afterwards)
        {
            try
            {
                await last();
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                // Whether it can be taken away is another check's matter.
            }
        }

        session.Afterwards.Clear();
        session.TakeExchanges();
    }

    // What a registry does not claim to have, it need not have. Discovery finds out by itself what there is.
    private static async Task RequireCategoryAsync(Check check, Session session)
    {
        if (check.Category is Categories.Store or Categories.Discover)
        {
            return;
        }

        IReadOnlyList<string> categories;
        try
        {
            categories = (await session.InfoAsync()).Texts("categories");
        }
        catch (CheckFailedException e)
        {
            throw new SkippedException($"the categories of info are needed first: {e.Message}");
        }

        if (!categories.Contains(check.Category, StringComparer.Ordinal))
        {
            throw new UnsupportedException($"info does not list the category '{check.Category}'");
        }
    }
}
