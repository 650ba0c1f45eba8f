using System.Text.Json;
using Kiln.BuildSpec;
using Kiln.Oci;
using Kiln.Server.Access.Guard;
using Kiln.Server.Audit;
using Kiln.Server.Builds.Secrets;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Http;

/// <summary>
/// Taking secrets for builds. They can be written and used, never read: there is no GET (build-extension, decision 11).
/// </summary>
internal sealed class SecretEndpoints(SecretVault vault)
{
    public void Map(V2Router router) =>
        router.Map("POST", "{name}/_build/v1/secrets", Need.Build(AuditActions.SecretStore), Post);

    private async Task Post(V2Context context)
    {
        var tooLarge = new OciError(
            BuildErrors.SecretTooLarge,
            $"a secret may have {SecretVault.MaxBytes} bytes at most"
        );
        var value = await context.ReadBodyAsync(SecretVault.MaxBytes, tooLarge);
        if (value.Length == 0)
        {
            throw new OciException(BuildErrors.RequestInvalid, "the body is the secret's value; it is empty");
        }

        var receipt = await vault.StoreAsync(context.Repository, context.Principal.Name, value, context.Cancel);
        await context.WriteJsonAsync(
            JsonSerializer.SerializeToUtf8Bytes(receipt, BuildJson.Default.SecretReceipt),
            context.Accepts(BuildMediaTypes.Secret),
            StatusCodes.Status201Created
        );
    }
}
