using System.Text;
using Kiln.Client.Builds;

namespace Kiln.Cli.Verbs;

/// <summary>Where a secret's value is: <c>id=ID,src=FILE</c> or <c>id=ID,env=VARIABLE</c>, as in docker and buildah.</summary>
internal sealed record SecretSource(string Id, string? File, string? Variable)
{
    public static SecretSource Parse(string text)
    {
        string? id = null;
        string? file = null;
        string? variable = null;
        foreach (var part in text.Split(','))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            var value = equals < 0 ? "" : part[(equals + 1)..];
            switch (equals < 0 ? part : part[..equals])
            {
                case "id":
                    id = value;
                    break;
                case "src" or "source":
                    file = value;
                    break;
                case "env":
                    variable = value;
                    break;
                case "type" when value is "file" or "env":
                    break;
                default:
                    throw Malformed(text);
            }
        }

        return string.IsNullOrEmpty(id) || (file is null) == (variable is null)
            ? throw Malformed(text)
            : new SecretSource(id, file, variable);
    }

    /// <summary>The value, from where it is.</summary>
    public async Task<byte[]> ReadAsync(Shell shell, CancellationToken cancel)
    {
        if (Variable is not null)
        {
            var value =
                shell.Variable(Variable)
                ?? throw CommandFailure.Usage($"the secret '{Id}' is to come from ${Variable}, which is not set");
            return Encoding.UTF8.GetBytes(value);
        }

        if (!System.IO.File.Exists(File))
        {
            throw CommandFailure.Usage($"the secret '{Id}' is to come from the file '{File}', which is not there");
        }

        return new FileInfo(File).Length > BuildClient.MaxSecretBytes
            ? throw CommandFailure.Usage($"the secret '{Id}' is larger than {Sizes.Text(BuildClient.MaxSecretBytes)}")
            : await System.IO.File.ReadAllBytesAsync(File, cancel);
    }

    // The text may hold a value that was meant to be secret, so it is not repeated.
    private static CommandFailure Malformed(string text) =>
        CommandFailure.Usage(
            $"--secret with {text.Split(',').Length} part(s) is not understood; write id=ID,src=FILE or id=ID,env=VARIABLE"
        );
}
