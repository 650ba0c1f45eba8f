using System.CommandLine;
using Kiln.Client.Builds;

namespace Kiln.Cli.Verbs;

/// <summary>The words of every verb that is about one job: <c>HOST/NAME ID</c>, or the URL that a registry printed.</summary>
internal sealed class JobArgument
{
    private readonly Argument<string> _repository = new("repository")
    {
        Description = "The job's repository, HOST/NAME; or the job's URL, and no ID.",
        HelpName = "HOST/NAME",
    };

    private readonly Argument<string?> _id = IdOf("The job, as kiln jobs HOST/NAME lists it.");

    /// <summary>Adds the words to a command.</summary>
    public static JobArgument On(Command command)
    {
        var argument = new JobArgument();
        command.Add(argument._repository);
        command.Add(argument._id);
        return argument;
    }

    /// <summary>The word that names a job of a repository.</summary>
    public static Argument<string?> IdOf(string description) =>
        new("id")
        {
            Description = description,
            HelpName = "ID",
            Arity = ArgumentArity.ZeroOrOne,
        };

    public JobAddress Read(ParseResult parsed, Shell shell) =>
        References.Job(parsed.GetRequiredValue(_repository), parsed.GetValue(_id), shell);
}
