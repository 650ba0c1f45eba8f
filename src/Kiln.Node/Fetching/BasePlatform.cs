using System.Globalization;
using System.Text.Json;
using Kiln.BuildSpec.Dockerfiles;
using Kiln.Client.Inspection;
using Kiln.Oci;

namespace Kiln.Node.Fetching;

/// <summary>
/// Whether a base is for the platform that it was wanted for. An index is asked for the platform; a plain manifest is taken
/// whatever it is for, and only its config says that. What an engine makes of the wrong one comes late and says little.
/// </summary>
internal static class BasePlatform
{
    /// <param name="config">The base's config; one that says no architecture is for any.</param>
    /// <param name="wanted">The base, and what it was wanted for.</param>
    /// <exception cref="FormatException">It is for another platform.</exception>
    public static void Check(byte[] config, BaseReference wanted)
    {
        if (Of(config) is { } there && !Serves(there, wanted.Platform))
        {
            throw new FormatException($"the base image {wanted.Written} is for {there}, not {wanted.Platform}");
        }
    }

    private static bool Serves(Platform there, Platform wanted) =>
        there.Os == wanted.Os
        && there.Architecture == wanted.Architecture
        // Only where both are numbers: who says less may mean all, and other words have no order.
        && (Level(there) is not { } has || Level(wanted) is not { } can || has <= can);

    private static int? Level(Platform platform) =>
        platform.Variant is ['v', .. var number]
        && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var level)
            ? level
            : null;

    private static Platform? Of(byte[] config)
    {
        try
        {
            var said = ImageConfig.Read(config).Platform;
            return said.Architecture.Length == 0
                ? null
                : new Platform(said.Os.Length == 0 ? "linux" : said.Os, GoName(said.Architecture), said.Variant);
        }
        catch (JsonException)
        {
            // What it is then, whoever needs it to be an image finds out.
            return null;
        }
    }

    // Some tools write the kernel's name for it.
    private static string GoName(string architecture) =>
        architecture switch
        {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            _ => architecture,
        };
}
