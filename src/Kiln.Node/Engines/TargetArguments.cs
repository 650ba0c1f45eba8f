using Kiln.BuildSpec;

namespace Kiln.Node.Engines;

/// <summary>How a recipe hears for what it is to compile, where that is more than the machine's family.</summary>
internal static class TargetArguments
{
    /// <summary>The argument that has archspec's name, such as <c>zen3</c> or <c>x86_64_v3</c>.</summary>
    public const string Microarchitecture = "TARGETMICROARCHITECTURE";

    /// <summary>
    /// The task with the arguments that its recipe names. An engine fills in those of its own machine otherwise; what the request
    /// says stays.
    /// </summary>
    public static LeaseTask With(LeaseTask task, string recipe)
    {
        if (task.Platform.Variant is null && task.Microarchitecture is null)
        {
            return task;
        }

        var args = new Dictionary<string, string>(task.Args, StringComparer.Ordinal);
        foreach (
            var (name, value) in new[]
            {
                ("TARGETPLATFORM", task.Platform.ToString()),
                ("TARGETVARIANT", task.Platform.Variant ?? ""),
                (Microarchitecture, task.Microarchitecture ?? ""),
            }
        )
        {
            if (recipe.Contains(name, StringComparison.Ordinal))
            {
                args.TryAdd(name, value);
            }
        }

        return task with
        {
            Args = args,
        };
    }
}
