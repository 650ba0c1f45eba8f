using Kiln.BuildSpec.Recipes;
using Kiln.Oci;
using Kiln.Server.Builds.Intake;
using Kiln.Server.Metadata;
using Kiln.Server.Registry;
using Microsoft.AspNetCore.Http;

namespace Kiln.Server.Front;

/// <summary>Starts builds of recipes that were pushed through this server and that the registry behind has taken.</summary>
internal sealed class PushedRecipes(CallerRights rights, IPushTrigger trigger, Manifests manifests, Database database)
{
    /// <summary>What is to be told beside the registry's own answer; null where the manifest is no recipe.</summary>
    /// <param name="push">As the client sent it.</param>
    public async Task<PushNotice?> StartAsync(HttpContext http, ManifestPush push, Digest digest, ManifestInfo manifest)
    {
        if (!RecipeArtifact.Is(manifest))
        {
            return null;
        }

        var cancel = http.RequestAborted;
        var (builder, whyNot) = await rights.PushedAsync(http, push.Repository);
        if (builder is null)
        {
            // Not what the answer to the push is to say with a challenge of its own.
            http.Response.Headers.Remove("WWW-Authenticate");
            return new PushNotice(null, PushIntake.Warning($"no build was started: {whyNot}"));
        }

        var asked = push with { Principal = builder.Name, MayBuild = true };
        var prepared = await trigger.PrepareAsync(asked, digest, manifest, cancel);
        http.Response.Headers.Remove("WWW-Authenticate");
        if (prepared is not { } reaction)
        {
            return null;
        }

        // The job keeps it, and it keeps what was brought for the build; without one, nothing does.
        var copy = ContentBehind.CopyOf(push.Repository, digest, push.Content, manifest);
        return await database.WriteAsync(
            transaction =>
            {
                var stored = manifests.Put(transaction, copy);
                return reaction(transaction, stored.Push with { Tags = push.Tags, Principal = builder.Name });
            },
            cancel
        );
    }
}
