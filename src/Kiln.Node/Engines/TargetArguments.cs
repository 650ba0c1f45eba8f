using Kiln.BuildSpec;

namespace Kiln.Node.Engines;

/// <summary>How a recipe hears for what it is to compile.</summary>
internal static class TargetArguments
{
    /// <summary>The argument that has archspec's name, such as <c>zen3</c> or <c>x86_64_v3</c>.</summary>
    public const string Microarchitecture = "TARGETMICROARCHITECTURE";

    /// <summary>
    /// The task with the arguments that its recipe names, in whichever engine it is built (build-extension, N-18). What the
    /// request says stays. The build key has platform and micro-architecture, and so all that they are made of.
    /// </summary>
    public static LeaseTask With(LeaseTask task, string recipe)
    {
        var platform = task.Platform;
        var args = new Dictionary<string, string>(task.Args, StringComparer.Ordinal);
        foreach (
            var (name, value) in new[]
            {
                ("TARGETPLATFORM", platform.ToString()),
                ("TARGETOS", platform.Os),
                ("TARGETARCH", platform.Architecture),
                ("TARGETVARIANT", platform.Variant ?? ""),
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
