namespace Kiln.Conformance;

/// <summary>
/// The switches of the distribution specification's own suite, and the checks here that each is about
/// (https://github.com/opencontainers/distribution-spec/tree/main/conformance).
/// </summary>
internal static class UpstreamVariables
{
    /// <summary>Name, former name, and what is left out where it is off.</summary>
    public static IReadOnlyList<(string Name, string Former, string[] Checks)> Switches { get; } =
    [
        (
            "OCI_API_PULL",
            "OCI_TEST_PULL",
            ["store.blob-", "store.manifest-get", "store.manifest-head", "store.manifest-unknown"]
        ),
        (
            "OCI_API_PUSH",
            "OCI_TEST_PUSH",
            ["store.upload-", "store.mount", "store.manifest-put", "store.manifest-bad-digest"]
        ),
        ("OCI_API_BLOBS_DELETE", "", ["store.delete-blob"]),
        ("OCI_API_BLOBS_MOUNT_ANONYMOUS", "", ["store.mount-anonymous"]),
        ("OCI_API_BLOBS_UPLOAD_CANCEL", "", ["store.upload-cancel"]),
        ("OCI_API_MANIFESTS_DELETE", "", ["store.delete-manifest"]),
        ("OCI_API_MANIFESTS_TAG_PARAM", "", ["store.manifest-put-tags"]),
        ("OCI_API_TAGS_DELETE", "", ["store.delete-tag"]),
        ("OCI_API_TAGS_LIST", "OCI_TEST_CONTENT_DISCOVERY", ["store.tags"]),
        ("OCI_API_REFERRER", "OCI_TEST_CONTENT_DISCOVERY", ["store.referrers", "store.subject"]),
        ("OCI_DATA_INDEX", "", ["store.manifest-index"]),
        ("OCI_DATA_ARTIFACT", "", ["store.manifest-artifact", "store.recipe"]),
        ("OCI_DATA_SUBJECT", "", ["store.subject", "store.referrers"]),
        ("OCI_DATA_EMPTY_BLOB", "", ["store.blob-empty"]),
        ("OCI_DATA_SHA512", "", ["store.blob-sha512"]),
    ];

    private static readonly string[] FormerWorkflows =
    [
        "OCI_TEST_PULL",
        "OCI_TEST_PUSH",
        "OCI_TEST_CONTENT_DISCOVERY",
        "OCI_TEST_CONTENT_MANAGEMENT",
    ];

    /// <summary>In the suite's former form deletion is only tested where it is asked for beside the other workflows.</summary>
    public static void AddFormerWorkflows(Func<string, string?> variable, Dictionary<string, string> left)
    {
        if (
            FormerWorkflows.Any(name => !string.IsNullOrEmpty(variable(name)))
            && variable("OCI_TEST_CONTENT_MANAGEMENT") is not ("1" or "true")
        )
        {
            left["store.delete-"] = "OCI_TEST_CONTENT_MANAGEMENT is not on";
        }
    }
}
