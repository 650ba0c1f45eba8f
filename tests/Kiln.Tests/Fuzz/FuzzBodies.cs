using System.Globalization;
using System.Text;
using Kiln.Oci;

namespace Kiln.Tests.Fuzz;

/// <summary>Bodies: JSON with holes that are filled with the right value or a wrong one, recipes, forms, plain bytes.</summary>
internal static class FuzzBodies
{
    private static readonly string[] Values =
    [
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "-0.0",
        "1.5",
        "9223372036854775808",
        "123456789012345678901234567890123456789012345678901234567890",
        "\"\"",
        "\"x\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\u00ff\"",
        "\"\\r\\nX-Injected: yes\"",
        "[]",
        "[null]",
        "[[]]",
        "{}",
        "{\"a\":{}}",
        "{\"a\":1,\"a\":2}",
        "{\"\":\"\"}",
        "{\"mediaType\":null,\"digest\":null,\"size\":null}",
        "\"" + new string('x', 5000) + "\"",
        string.Concat(Enumerable.Repeat("[", 70)) + string.Concat(Enumerable.Repeat("]", 70)),
        string.Concat(Enumerable.Repeat("{\"a\":", 70)) + "1" + new string('}', 70),
        "[" + string.Join(',', Enumerable.Repeat("{}", 3000)) + "]",
        "NaN",
        "'x'",
        "",
    ];

    private static readonly string[] Recipes =
    [
        "FROM scratch\nCOPY a /a\n",
        "FROM scratch AS a\nFROM a\nLABEL x=y\n",
        "ARG A=b\nFROM $A\nRUN --mount=type=secret,id=s true\n",
        "# escape=`\nFROM scratch\nRUN a `\n b\n",
        "FROM scratch\nRUN <<EOF\nx\nEOF\n",
        "FROM scratch\nRUN <<EOF\n",
        "FROM \u00ff\n",
        "FROM scratch\0",
        "\u00ef\u00bb\u00bfFROM scratch\r\n",
        "FROM ${A:-${A:-${A:-x}}}\n",
        "FROM $" + new string('{', 5000) + "\n",
        "FROM scratch\n" + string.Concat(Enumerable.Repeat("RUN true\n", 3000)),
        "FROM scratch\nRUN " + new string('\\', 3000) + "\n",
        "FROM scratch\n" + string.Concat(Enumerable.Range(0, 300).Select(i => $"FROM scratch AS s{i}\n")),
        "RUN",
        "",
    ];

    public static string Manifest(Dice dice)
    {
        var json = dice.Below(4) switch
        {
            0 => Index(dice),
            1 => Artifact(dice),
            2 => Recipe(Of("config", dice, Descriptor(dice)), dice),
            _ => Image(dice),
        };
        return Bend(dice, json);
    }

    public static string Job(Dice dice)
    {
        var members = new List<string> { Of("recipe", dice, RecipeSource(dice)), Of("tags", dice, "[\"1.0\"]") };
        (string Name, string Right)[] others =
        [
            ("contexts", $"[{Descriptor(dice)}]"),
            ("targets", "[{\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}]"),
            ("args", "{\"A\":\"b\"}"),
            ("secrets", "[{\"id\":\"s\",\"ref\":\"x\"}]"),
            ("target", "\"a\""),
            ("labels", "{\"x\":\"y\"}"),
            ("outputs", "[{\"format\":\"oci\"}]"),
            ("cache", "{\"policy\":\"none\",\"maxAgeSeconds\":5}"),
            ("reproducible", "{\"sourceDateEpoch\":0}"),
            ("network", "\"none\""),
            ("timeoutSeconds", "60"),
            ("queueSeconds", "60"),
            ("mustUnderstand", "[\"recipe\"]"),
            ("unknown", "{\"a\":[1,2]}"),
            ("Tags", "[]"),
        ];
        for (var i = dice.Below(5); i > 0; i--)
        {
            var (name, right) = dice.Of(others);
            members.Add(Of(name, dice, right));
        }

        return Bend(dice, $"{{{string.Join(',', members)}}}");
    }

    public static string Recipe(Dice dice) => dice.Of(Recipes);

    public static string Token(Dice dice) =>
        Bend(
            dice,
            $"{{{Of("name", dice, $"\"t{dice.Below(1000)}\"")},{Of("repositories", dice, "[\"ci/**\"]")},{Of("actions", dice, "[\"pull\"]")},{Of("expiresInSeconds", dice, "60")}}}"
        );

    public static string Form(Dice dice)
    {
        string[] names =
        [
            "grant_type",
            "username",
            "password",
            "refresh_token",
            "service",
            "scope",
            "client_id",
            "access_type",
        ];
        string[] values =
        [
            "password",
            "refresh_token",
            "alice",
            "secret%20of%20alice",
            "offline",
            "eyJ.eyJ.x",
            .. Hostile.Texts,
        ];
        var form = dice.Of(
            "grant_type=password&username=alice&password=secret%20of%20alice",
            "grant_type=refresh_token",
            ""
        );
        for (var i = dice.Of(0, 1, 2, 2000); i > 0; i--)
        {
            form += $"&{dice.Of(names)}={dice.Of(values)}";
            if (form.Length > 80_000)
            {
                break;
            }
        }

        return form;
    }

    /// <summary>Bytes of a blob.</summary>
    public static string Bytes(Dice dice) => dice.Latin1(dice.Of(0, 1, 10, 1000, 70_000));

    private static string Image(Dice dice) =>
        $"{{{Of("schemaVersion", dice, "2")},{Of("mediaType", dice, $"\"{MediaTypes.OciManifest}\"")},"
        + $"{Of("config", dice, Empty(dice))},{Of("layers", dice, $"[{Empty(dice)},{Descriptor(dice)}]")},"
        + $"{Of("annotations", dice, $"{{\"n\":\"{dice.Below(100_000)}\"}}")}}}";

    private static string Artifact(Dice dice) =>
        $"{{{Of("schemaVersion", dice, "2")},{Of("artifactType", dice, "\"application/x\"")},"
        + $"{Of("config", dice, Empty(dice))},{Of("layers", dice, $"[{Empty(dice)}]")},"
        + $"{Of("subject", dice, Descriptor(dice))},{Of("annotations", dice, "{\"a\":\"b\"}")}}}";

    private static string Index(Dice dice) =>
        $"{{{Of("schemaVersion", dice, "2")},{Of("mediaType", dice, $"\"{MediaTypes.OciIndex}\"")},"
        + $"{Of("manifests", dice, dice.Percent(50) ? "[]" : $"[{Descriptor(dice)}]")},{Of("x", dice, "1")}}}";

    // A pushed recipe, which is built.
    private static string Recipe(string config, Dice dice) =>
        $"{{{Of("schemaVersion", dice, "2")},{Of("artifactType", dice, "\"application/vnd.supercontainers.build.recipe.v1\"")},"
        + $"{config},{Of("layers", dice, $"[{Descriptor(dice)}]")},"
        + $"{Of("annotations", dice, "{\"org.supercontainers.build.tags\":\"a,b\",\"org.supercontainers.build.arg.A\":\"x\"}")}}}";

    private static string RecipeSource(Dice dice) =>
        dice.Below(3) switch
        {
            0 => $"{{\"digest\":\"{FuzzRequests.DigestOf(dice)}\"}}",
            1 => $"{{\"tag\":\"{dice.Of(Hostile.Tags)}\"}}",
            _ =>
                $"{{{Of("mediaType", dice, "\"text/x-dockerfile\"")},{Of("data", dice, $"\"{Convert.ToBase64String(Encoding.Latin1.GetBytes(Recipe(dice)))}\"")}}}",
        };

    private static string Empty(Dice dice) =>
        dice.Percent(90)
            ? $"{{\"mediaType\":\"{MediaTypes.OciEmpty}\",\"digest\":\"{Digest.EmptyJson}\",\"size\":2}}"
            : Descriptor(dice);

    private static string Descriptor(Dice dice)
    {
        var size = dice.Of("2", "0", "5");
        return $"{{{Of("mediaType", dice, "\"application/vnd.oci.image.layer.v1.tar\"")},"
            + $"{Of("digest", dice, $"\"{FuzzRequests.DigestOf(dice)}\"")},{Of("size", dice, size)}"
            + (dice.Percent(10) ? $",{Of("urls", dice, "[\"http://a/\"]")}" : "")
            + (dice.Percent(10) ? $",{Of("data", dice, "\"e30=\"")}" : "")
            + (dice.Percent(10) ? $",{Of("platform", dice, "{\"os\":\"linux\",\"architecture\":\"amd64\"}")}" : "")
            + "}";
    }

    // A member that is right, or rarely something else, or there twice.
    private static string Of(string name, Dice dice, string right)
    {
        var value = dice.Percent(95) ? right : dice.Of(Values);
        var member = string.Create(CultureInfo.InvariantCulture, $"\"{name}\":{value}");
        return dice.Percent(2) ? $"{member},{member}" : member;
    }

    private static string Bend(Dice dice, string json) =>
        dice.Below(40) switch
        {
            0 => "\u00ef\u00bb\u00bf" + json,
            1 => json + json,
            2 => json + " // why",
            3 => json.Replace("\"", "'", StringComparison.Ordinal),
            4 => json.PadRight(json.Length + 300_000),
            5 => string.Concat(json.Select(c => $"{c}\0")),
            6 => string.Concat(Enumerable.Repeat("[", 200_000)),
            7 => dice.Of(Values),
            _ => json,
        };
}
