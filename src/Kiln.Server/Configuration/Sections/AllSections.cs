namespace Kiln.Server.Configuration.Sections;

/// <summary>
/// The configuration file as a whole. A new section is a class of its own in this folder, and a line here; flags, variables,
/// the schema and what is said of wrong files come from its declaration.
/// </summary>
internal static class AllSections
{
    public static Shape<ServerOptions> File { get; } =
        new(
            "the configuration",
            [
                .. ServerSection.Fields,
                StorageSection.Field,
                RegistrySection.Field,
                UpstreamsSection.Field,
                FrontSection.Field,
                AccessSection.Field,
                BuildsSection.Field,
                CollectionSection.Field,
                .. RuleSections.Fields,
                OperatingSection.Field,
                EventSection.Field,
            ]
        );
}
