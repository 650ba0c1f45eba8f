using System.CommandLine;
using Kiln.Client.Credentials;
using Kiln.Conformance;
using Kiln.Conformance.Reports;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln conformance</c>: whether a registry does what the specifications say, without knowing it.</summary>
internal sealed class ConformanceVerb
{
    private readonly Argument<string?> _url = new("URL")
    {
        Description = "The registry, http://HOST:PORT or https://HOST; $OCI_REGISTRY or $OCI_ROOT_URL otherwise.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string?> _repository = new("--repository")
    {
        Description = "A repository to write into; $OCI_REPO1 otherwise, or conformance/repo1.",
        HelpName = "NAME",
    };

    private readonly Option<string?> _other = new("--other-repository")
    {
        Description = "A second one, for mounts; $OCI_REPO2 otherwise, or conformance/repo2.",
        HelpName = "NAME",
    };

    private readonly Option<string[]> _categories = new("--category")
    {
        Description = $"Only this one of {string.Join(", ", Categories.All)}. May be given several times.",
        HelpName = "CATEGORY",
    };

    private readonly Option<string[]> _only = new("--check")
    {
        Description = "Only the checks whose names begin so. May be given several times.",
        HelpName = "ID",
    };

    private readonly Option<string?> _platform = new("--platform")
    {
        Description = "A platform that nobody builds for there: the run plays the build node for it.",
        HelpName = "OS/ARCH",
    };

    private readonly Option<string?> _hookHost = new("--hook-host")
    {
        Description = "This machine's address as the registry reaches it, for hooks; 127.0.0.1 otherwise.",
        HelpName = "HOST",
    };

    private readonly Option<string?> _junit = new("--report-junit")
    {
        Description = "Also write the results as JUnit's XML.",
        HelpName = "FILE",
    };

    private readonly Option<string?> _html = new("--report-html")
    {
        Description = "Also write the results as a page, with all requests.",
        HelpName = "FILE",
    };

    private readonly Option<bool> _list = new("--list") { Description = "List the checks, and make none." };

    public static Command Create(Shell shell) => new ConformanceVerb().CommandOf(shell);

    private Command CommandOf(Shell shell)
    {
        var command = new Command("conformance", "Check that a registry does what the specifications say.")
        {
            _url,
            _repository,
            _other,
            _categories,
            _only,
            _platform,
            _hookHost,
            _junit,
            _html,
            _list,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        try
                        {
                            return parsed.GetValue(_list) ? List(parsed, shell) : await RunAsync(parsed, shell, cancel);
                        }
                        catch (ConformanceException e)
                        {
                            throw CommandFailure.Usage(e.Message);
                        }
                    }
                )
        );
        return command;
    }

    private int List(ParseResult parsed, Shell shell)
    {
        var options = OptionsOf(parsed, shell, parsed.GetValue(_url) ?? "http://localhost");
        foreach (var line in TextReport.List(ConformanceRun.Plan(options)))
        {
            shell.Out.WriteLine(line);
        }

        return ExitCodes.Ok;
    }

    private async Task<int> RunAsync(ParseResult parsed, Shell shell, CancellationToken cancel)
    {
        var options = OptionsOf(parsed, shell, parsed.GetValue(_url));
        var started = shell.Time.GetUtcNow();
        var results = await ConformanceRun.RunAsync(
            options,
            result => shell.Out.WriteLine(TerminalText.Escape(TextReport.Line(result))),
            cancel
        );
        await shell.Out.WriteLineAsync(TextReport.Sum(results));
        var directory = shell.Variable("OCI_RESULTS_DIR");
        if (ReportPath(parsed.GetValue(_junit), directory, "junit.xml") is { } junit)
        {
            await using var file = File.Create(junit);
            JUnitReport.Write(file, results);
        }

        if (ReportPath(parsed.GetValue(_html), directory, "report.html") is { } html)
        {
            await File.WriteAllTextAsync(html, HtmlReport.Of(options.Url, started, results), cancel);
        }

        return results.Any(result => result.Outcome == Outcome.Fail) ? ExitCodes.NotConformant : ExitCodes.Ok;
    }

    private ConformanceOptions OptionsOf(ParseResult parsed, Shell shell, string? url)
    {
        var set = ConformanceOptions.FromVariables(url, shell.Variable);
        // As for the other verbs, where no login was given for the run.
        var login = set.UserName is null ? AuthFiles.OfUser(shell.Variable).Find(set.Url.Authority, null) : null;
        return set with
        {
            UserName = set.UserName ?? (login?.Password.Length > 0 ? login.User : null),
            Password = set.Password ?? login?.Password,
            Repository = parsed.GetValue(_repository) ?? set.Repository,
            OtherRepository = parsed.GetValue(_other) ?? set.OtherRepository,
            Categories = parsed.GetValue(_categories) ?? [],
            Only = parsed.GetValue(_only) ?? [],
            Platform = parsed.GetValue(_platform) ?? set.Platform,
            HookHost = parsed.GetValue(_hookHost) ?? set.HookHost,
        };
    }

    private static string? ReportPath(string? asked, string? directory, string name)
    {
        if (asked is not null || string.IsNullOrEmpty(directory))
        {
            return asked;
        }

        Directory.CreateDirectory(directory);
        return Path.Combine(directory, name);
    }
}
