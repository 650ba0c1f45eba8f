using System.CommandLine;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Kiln.Cli.Verification;

namespace Kiln.Cli.Verbs;

/// <summary><c>kiln verify</c>: follows an image to how it was made, and to its recipe.</summary>
internal static class VerifyVerb
{
    private const int MaxKeyBytes = 16 << 10;

    public static Command Create(Shell shell)
    {
        var what = new Argument<string>("image") { Description = "HOST/NAME:TAG or HOST/NAME@DIGEST." };
        var keys = new Option<string[]>("--key")
        {
            Description =
                "A public key in PEM; only what one of the keys given has signed counts. Without: unsigned, too.",
            HelpName = "FILE",
        };
        var builders = new Option<string[]>("--builder")
        {
            Description = "The builder.id of a build node; only what one of those given has built counts.",
            HelpName = "URI",
        };
        var rebuild = new Option<bool>("--rebuild") { Description = "Build it again, and say what differs." };
        var json = new Option<bool>("--json") { Description = "The report as JSON." };
        var insecure = Connection.InsecureOption();
        var command = new Command("verify", "Follow an image to how it was made, and to its recipe.")
        {
            what,
            keys,
            builders,
            rebuild,
            json,
            insecure,
        };
        command.SetAction(
            (parsed, cancel) =>
                Failures.GuardAsync(
                    shell,
                    async () =>
                    {
                        var image = References.Target(parsed.GetRequiredValue(what), shell);
                        var trusted = (parsed.GetValue(keys) ?? []).Select(ReadKey).ToList();
                        using var connection = Connection.Open(shell, parsed.GetValue(insecure));
                        var report = await new ImageVerification(
                            connection.Registry,
                            connection.Builds,
                            trusted,
                            parsed.GetValue(builders) ?? [],
                            parsed.GetValue(rebuild) ? shell.Error : null
                        ).RunAsync(image, cancel);
                        trusted.ForEach(key => key.Dispose());
                        await shell.Out.WriteAsync(
                            parsed.GetValue(json)
                                ? JsonSerializer.Serialize(report, VerifyJson.Default.VerificationReport) + "\n"
                                : report.ToText()
                        );
                        return report.Verified ? ExitCodes.Ok : ExitCodes.NotVerified;
                    }
                )
        );
        return command;
    }

    private static ECDsa ReadKey(string file)
    {
        var key = ECDsa.Create();
        try
        {
            if (new FileInfo(file).Length > MaxKeyBytes)
            {
                throw CommandFailure.Usage($"{file} is too large to be a public key");
            }

            key.ImportFromPem(File.ReadAllText(file));
            return key;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            key.Dispose();
            throw CommandFailure.Usage($"cannot read the public key: {e.Message}");
        }
        catch (Exception e) when (e is ArgumentException or CryptographicException)
        {
            key.Dispose();
            throw CommandFailure.Usage($"{file} is no public key of ECDSA in PEM");
        }
    }
}

[JsonSourceGenerationOptions(
    WriteIndented = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase
)]
[JsonSerializable(typeof(VerificationReport))]
internal sealed partial class VerifyJson : JsonSerializerContext;
