using Kiln.Oci;

namespace Kiln.BuildSpec;

/// <summary>
/// The media types, artifact types and annotation keys of the <c>_build</c> extension. The prefix belongs to a community
/// whose consent is still to be asked for; this file is the only place where it is spelled.
/// </summary>
public static class BuildMediaTypes
{
    private const string Prefix = "application/vnd.supercontainers.build.";

    /// <summary>Artifact type of a recipe (build-extension, "Recipe artifact").</summary>
    public const string Recipe = Prefix + "recipe.v1";
    public const string RecipeConfig = Prefix + "config.v1+json";
    public const string Dockerfile = Prefix + "dockerfile.v1";
    public const string Singularity = Prefix + "singularity.v1";
    public const string Context = Prefix + "context.v1.tar+gzip";
    public const string Log = Prefix + "log.v1";
    public const string Hints = Prefix + "hints.v1+json";
    public const string Info = Prefix + "info.v1+json";
    public const string Request = Prefix + "request.v1+json";
    public const string Job = Prefix + "job.v1+json";
    public const string Jobs = Prefix + "jobs.v1+json";
    public const string Secret = Prefix + "secret.v1+json";
    public const string Lease = Prefix + "lease.v1+json";
    public const string Hook = Prefix + "hook.v1+json";
    public const string Hooks = Prefix + "hooks.v1+json";
    public const string Result = Prefix + "result.v1+json";

    /// <summary>Artifact type of an image as a squashfs file (build-extension, section 18).</summary>
    public const string Squashfs = Prefix + "squashfs.v1";

    // As Apptainer and Singularity push and pull them with oras://.
    public const string SifConfig = "application/vnd.sylabs.sif.config.v1+json";
    public const string SifLayer = "application/vnd.sylabs.sif.layer.v1.sif";
    public const string SquashfsLayer = "application/vnd.sylabs.image.layer.v1.squashfs";

    /// <summary>What editors and <c>curl</c> users call a Dockerfile.</summary>
    public const string TextDockerfile = "text/x-dockerfile";

    public static bool IsContext(string mediaType) =>
        mediaType is Context or MediaTypes.OciLayerTar or MediaTypes.OciLayerGzip or MediaTypes.OciLayerZstd;

    /// <summary>The kind of recipe that a layer of this type holds, or null.</summary>
    public static string? RecipeType(string mediaType) =>
        mediaType switch
        {
            Dockerfile or TextDockerfile => RecipeTypes.Dockerfile,
            Singularity => RecipeTypes.Singularity,
            _ => null,
        };
}

/// <summary>The kinds of recipes, as they are named in requests and in <c>info</c>.</summary>
public static class RecipeTypes
{
    public const string Dockerfile = "dockerfile";
    public const string Singularity = "singularity";

    /// <summary>
    /// Of a task, and not of a request: a finished image of the repository, of which something is made. The recipe is its
    /// manifest.
    /// </summary>
    public const string Image = "image";
}

/// <summary>Annotation keys on recipe artifacts (all values are strings, lists are comma-separated).</summary>
public static class RecipeAnnotations
{
    public const string Prefix = "org.supercontainers.build.";
    public const string Tags = Prefix + "tags";
    public const string Platforms = Prefix + "platforms";
    public const string Outputs = Prefix + "outputs";
    public const string Target = Prefix + "target";
    public const string Trigger = Prefix + "trigger";

    /// <summary>The value of <see cref="Trigger"/> that asks for no build.</summary>
    public const string TriggerNone = "none";

    /// <summary>The value of <see cref="Trigger"/> that asks for one, where it has to be asked for.</summary>
    public const string TriggerPush = "push";
    public const string Timeout = Prefix + "timeout";
    public const string Flatten = Prefix + "flatten";
    public const string Microarchitectures = Prefix + "microarchitectures";
    public const string Emulation = Prefix + "emulation";

    /// <summary>Followed by the name of a build argument.</summary>
    public const string ArgPrefix = Prefix + "arg.";

    /// <summary>Followed by the name of an image label.</summary>
    public const string LabelPrefix = Prefix + "label.";

    /// <summary>On a layer: <c>recipe</c> or <c>context</c>.</summary>
    public const string Role = Prefix + "role";

    /// <summary>On a context layer: leading path components to drop.</summary>
    public const string ContextStrip = Prefix + "context.strip";
    public const string Title = "org.opencontainers.image.title";

    /// <summary>What oras sets on a directory that it packed: the layer's paths start with the directory's name.</summary>
    public const string OrasUnpack = "io.deis.oras.content.unpack";

    /// <summary>The suffix of a recipe's tag by convention: <c>1.0.recipe</c> delivers <c>1.0</c>.</summary>
    public const string RecipeTagSuffix = ".recipe";
}

/// <summary>Annotation keys on products: the hints vocabulary.</summary>
public static class HintAnnotations
{
    private const string Prefix = "org.supercontainers.";
    public const string FlattenOwnership = Prefix + "flatten.ownership";
    public const string FlattenMode = Prefix + "flatten.mode";

    /// <summary>Measured: <c>uids=1;gids=1;setid=0;caps=0</c>.</summary>
    public const string Ids = Prefix + "ids";

    /// <summary>Bytes of all files once unpacked.</summary>
    public const string UnpackedBytes = Prefix + "unpacked.bytes";

    /// <summary>Inodes once unpacked.</summary>
    public const string UnpackedFiles = Prefix + "unpacked.files";

    /// <summary>Families of MPI, by their ABI; several are separated by commas.</summary>
    public const string Mpi = Prefix + "mpi";
    public const string MpiImplementation = Prefix + "mpi.implementation";
    public const string Gpu = Prefix + "gpu";

    /// <summary>Measured: what flattening has changed, <c>entries=9;owners=5;setid=3;caps=1;acls=0;modes=2;devices=0</c>.</summary>
    public const string FlattenChanges = Prefix + "flatten.changes";

    /// <summary>What a manifest was made of an image as: an output's format.</summary>
    public const string Format = Prefix + "build.format";
    public const string Glibc = Prefix + "glibc";
    public const string Communication = Prefix + "communication.framework";

    /// <summary>For what an image is compiled, by archspec's name.</summary>
    public const string CpuTarget = "io.archspec.cpu.target";

    /// <summary><c>true</c> where the image was built on a machine that emulated its processor; absent otherwise.</summary>
    public const string Emulated = Prefix + "emulated";
    public const string UncompressedBlobSize = "ci.umo.uncompressed_blob_size";
    public const string BaseName = "org.opencontainers.image.base.name";
    public const string BaseDigest = "org.opencontainers.image.base.digest";
    public const string Created = "org.opencontainers.image.created";
}
