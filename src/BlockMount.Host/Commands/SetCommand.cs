using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>set</c>: changes what one image records about itself. Its parents are not opened, so that a broken link can be mended.</summary>
internal static class SetCommand
{
    private const string Random = "random";

    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var uuid = UuidOption("--uuid", "UUID of the image; random makes a new one", $"UUID|{Random}", mayBeRandom: true);
        var modification = UuidOption("--modification-uuid", "UUID of its last modification", "UUID");
        var parent = UuidOption("--parent-uuid", "UUID of the parent of a differencing image", "UUID");
        var parentModification = UuidOption("--parent-modification-uuid", "The parent's modification UUID as the image recorded it; all zero: not compared", "UUID");
        var comment = new Option<string?>("--comment") { Description = "Text kept in the image; empty takes it away", HelpName = "TEXT" };
        var geometry = GeometryOption("--geometry", "Physical geometry; 0/0/0: not said");
        var biosGeometry = GeometryOption("--bios-geometry", "Logical (BIOS) geometry; 0/0/0: not said");
        var dryRun = new Option<bool>("--dry-run") { Description = "Check and show the change, and make none of it" };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command("set", "Change what one image records about itself: UUIDs, comment, geometry. Its content and its parents stay as they are.")
        {
            image, uuid, modification, parent, parentModification, comment, geometry, biosGeometry, dryRun, json, options.Format, options.AllowPath, options.AllowDevices,
        };
        command.SetExamples(
            "blockmount set copy.vdi --uuid random",
            "blockmount set Snapshots/leaf.vdi --parent-uuid 5a3b1e00-00d1-4000-8000-000000000000",
            "blockmount set disk.vdi --comment \"before the upgrade\" --dry-run");
        command.SetWork(async (result, cancellation) =>
        {
            var change = new ImageMetadata
            {
                Uuid = result.GetValue(uuid),
                ModificationUuid = result.GetValue(modification),
                ParentUuid = result.GetValue(parent),
                ParentModificationUuid = result.GetValue(parentModification),
                Comment = result.GetValue(comment),
                Pchs = result.GetValue(geometry),
                Lchs = result.GetValue(biosGeometry),
            };
            if (change.Fields == MetadataFields.None)
            {
                throw new DiskException(
                    ErrorKind.InvalidArgument,
                    $"what is to be changed? Add one or more of {string.Join(", ", new Option[] { uuid, modification, parent, parentModification, comment, geometry, biosGeometry }.Select(static o => o.Name))}.");
            }

            var request = options.Read(result);
            await using var layer = await opener.OpenImageAsync(result.GetRequiredValue(image), request, cancellation);
            var before = layer.Describe();
            await layer.CheckMetadataAsync(change, cancellation);
            var isDryRun = result.GetValue(dryRun);
            var child = await WarnOfChildAsync(opener, layer, change, isDryRun, cancellation);
            if (!isDryRun)
            {
                await layer.SetMetadataAsync(change, cancellation);
                await WarnOfNewFindingsAsync(before, layer.Describe());
            }

            var after = isDryRun ? Changed(before, change) : layer.Describe();
            Report(result.GetValue(json), new SetDocument(Path.GetFullPath(layer.Path), before.Format, isDryRun, Facts(before), Facts(after), child));
            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>A child knows its parent by UUIDs, and does not learn of others.</summary>
    private static async Task<string?> WarnOfChildAsync(ImageOpener opener, ImageLayer layer, ImageMetadata change, bool isDryRun, CancellationToken cancellation)
    {
        var identity = layer.Identity;
        if ((change.Uuid ?? identity.Uuid) == identity.Uuid && (change.ModificationUuid ?? identity.ModificationUuid) == identity.ModificationUuid)
        {
            return null;
        }

        var child = await opener.FindChildAsync(layer, cancellation);
        if (child is not null)
        {
            await Console.Error.WriteLineAsync(
                $"blockmount: warning: {child} was made from {layer.Path} and {(isDryRun ? "would" : "will")} not fit it any more; change the child's --parent-uuid or --parent-modification-uuid as well.");
        }

        return child;
    }

    private static async Task WarnOfNewFindingsAsync(ImageDescription before, ImageDescription after)
    {
        var known = before.Diagnostics.Select(static d => d.Message).ToHashSet(StringComparer.Ordinal);
        foreach (var finding in after.Diagnostics.Where(d => !known.Contains(d.Message)))
        {
            await Console.Error.WriteLineAsync($"blockmount: warning: {finding.Message}");
        }
    }

    private static ImageDescription Changed(ImageDescription before, ImageMetadata change) => before with
    {
        Identity = before.Identity with
        {
            Uuid = change.Uuid ?? before.Identity.Uuid,
            ModificationUuid = change.ModificationUuid ?? before.Identity.ModificationUuid,
        },
        Parent = before.Parent is { } link
            ? link with { Uuid = change.ParentUuid ?? link.Uuid, ModificationUuid = change.ParentModificationUuid ?? link.ModificationUuid }
            : null,
        Comment = change.Comment ?? before.Comment,
        Pchs = change.Pchs ?? before.Pchs,
        Lchs = change.Lchs ?? before.Lchs,
    };

    private static MetadataFacts Facts(ImageDescription d) => new(
        InfoCommand.OrNull(d.Identity.Uuid), InfoCommand.OrNull(d.Identity.ModificationUuid), InfoCommand.OrNull(d.Parent?.Uuid), InfoCommand.OrNull(d.Parent?.ModificationUuid), d.Comment, InfoCommand.Geometry(d.Pchs), InfoCommand.Geometry(d.Lchs));

    private static void Report(bool json, SetDocument document)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.SetDocument));
            return;
        }

        Console.WriteLine($"{document.Path}: {document.Format}{(document.DryRun ? ", nothing was changed (--dry-run)" : "")}");
        var (b, a) = (document.Before, document.After);
        Show("UUID", b.Uuid?.ToString(), a.Uuid?.ToString());
        Show("modification UUID", b.ModificationUuid?.ToString(), a.ModificationUuid?.ToString());
        Show("parent UUID", b.ParentUuid?.ToString(), a.ParentUuid?.ToString());
        Show("parent modification UUID", b.ParentModificationUuid?.ToString(), a.ParentModificationUuid?.ToString());
        Show("comment", b.Comment.Length > 0 ? TerminalText.Escape(b.Comment) : null, a.Comment.Length > 0 ? TerminalText.Escape(a.Comment) : null);
        Show("geometry", Text(b.Pchs), Text(a.Pchs));
        Show("BIOS geometry", Text(b.Lchs), Text(a.Lchs));

        static string? Text(GeometryFacts? g) => g is null ? null : $"{g.Cylinders}/{g.Heads}/{g.Sectors}";

        static void Show(string name, string? before, string? after)
        {
            if (before is not null || after is not null)
            {
                var same = string.Equals(before, after, StringComparison.Ordinal);
                Console.WriteLine($"  {name}: {before ?? "none"}{(same ? "" : $" -> {after ?? "none"}")}");
            }
        }
    }

    private static Option<Guid?> UuidOption(string name, string description, string help, bool mayBeRandom = false) => new(name)
    {
        Description = description,
        HelpName = help,
        CustomParser = result => Parse<Guid>(result, text =>
            mayBeRandom && text == Random ? Guid.NewGuid()
            : Guid.TryParseExact(text, "D", out var uuid) || Guid.TryParseExact(text, "B", out uuid) ? uuid
            : null, $"a UUID; write it as 5a3b1e00-00d1-4000-8000-000000000001{(mayBeRandom ? $", or {Random}" : "")}"),
    };

    private static Option<DiskGeometry?> GeometryOption(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "C/H/S",
        CustomParser = static result => Parse<DiskGeometry>(result, static text =>
        {
            var parts = text.Split('/');
            return parts.Length == 3 && Number(parts[0], out var c) && Number(parts[1], out var h) && Number(parts[2], out var s) ? new DiskGeometry(c, h, s) : null;
        }, "a geometry; write cylinders/heads/sectors, such as 1024/16/63"),
    };

    private static bool Number(string text, out uint number) => uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    private static T? Parse<T>(ArgumentResult result, Func<string, T?> parse, string wanted)
        where T : struct
    {
        var text = result.Tokens[0].Value;
        var value = parse(text);
        if (value is null)
        {
            result.AddError($"'{text}' is not {wanted}.");
        }

        return value;
    }
}
