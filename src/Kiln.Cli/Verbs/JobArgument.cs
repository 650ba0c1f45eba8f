using System.CommandLine;

namespace Kiln.Cli.Verbs;

/// <summary>The argument of every verb that is about one job.</summary>
internal static class JobArgument
{
    public static Argument<string[]> Create() =>
        new("job")
        {
            Description = "HOST/NAME ID, or the job's URL.",
            HelpName = "JOB",
            Arity = new ArgumentArity(1, 2),
        };
}
