using System.Text;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>Works out what another name of a VMDK means for its extents: those that bear its name get the new one, and its descriptor says so.</summary>
internal static class VmdkMove
{
    public static async ValueTask<ImageMovePlan> PlanAsync(ByteStore store, ImageContext context, string newPath, CancellationToken cancellationToken)
    {
        var source = await VmdkSource.ReadAsync(store, cancellationToken);
        var from = Path.GetFullPath(store.Name);
        if (source.Embedded is not null)
        {
            return await PlanEmbeddedAsync(store, source, context, new FileMove(from, newPath), cancellationToken);
        }

        if (source.Descriptor.Find(KeyChangeTrack) is not null)
        {
            throw Refused(from, "its changed blocks are tracked in another file (changeTrackPath), which would be left behind; end the tracking first.");
        }

        var files = new List<FileMove> { new(from, newPath) };
        var names = source.Descriptor.Extents.Select(line => NewName(line, context, from, newPath, files)).ToArray();
        return await WithTextAsync(store, context, new ImageMovePlan { Files = files }, source, names, cancellationToken);
    }

    /// <summary>Readers pass over the name that a descriptor has for its own file, but not all of them.</summary>
    private static async ValueTask<ImageMovePlan> PlanEmbeddedAsync(
        ByteStore store, VmdkSource source, ImageContext context, FileMove file, CancellationToken cancellationToken)
    {
        var plan = new ImageMovePlan { Files = [file] };
        try
        {
            VmdkWriteRules.CheckDescriptor(store.Name, source);
            VmdkLayout.Require(store.Name, source.Embedded is { HasUnknownFlags: false, IsCow: false }, "its header has flags that are not known.");
            VmdkLayout.RequireName(store.Name, Path.GetFileName(file.To));
            return await WithTextAsync(store, context, plan, source, [Path.GetFileName(file.To)], cancellationToken);
        }
        catch (DiskException e) when (e.Kind is ErrorKind.InvalidArgument or ErrorKind.UnsupportedFeature or ErrorKind.ReadOnly)
        {
            return plan with { Note = $"{file.To}: its descriptor cannot be changed safely and goes on naming {Path.GetFileName(file.From)}, which most readers pass over." };
        }
    }

    private static async ValueTask<ImageMovePlan> WithTextAsync(
        ByteStore store, ImageContext context, ImageMovePlan plan, VmdkSource source, string?[] names, CancellationToken cancellationToken)
    {
        var old = source.Descriptor.Extents.Select((e, i) => names[i] is null ? null : e.FileName).ToArray();
        var oldHint = source.Descriptor.Parent?.NameHint;
        var hint = HintFrom(context, oldHint, plan.Files[0]);

        // Tried here, so that what is refused is refused before anything is moved.
        await PlanTextAsync(store, names, hint, cancellationToken);
        return plan with
        {
            Rename = async s => await (await PlanTextAsync(s, names, hint, CancellationToken.None)).WriteAsync(context.Provider),
            Restore = async s => await (await PlanTextAsync(s, old, oldHint, CancellationToken.None)).WriteAsync(context.Provider),
        };
    }

    private static ValueTask<VmdkRewrite> PlanTextAsync(ByteStore store, string?[] names, string? hint, CancellationToken cancellationToken) =>
        VmdkRewrite.PlanAsync(
            store, (descriptor, text) => Text(hint is null ? text : VmdkKeyChange.Apply(descriptor, text, [new(KeyParentHint, hint)]), names), cancellationToken);

    /// <summary>The parent's name as seen from the new folder, when it is seen from the old one; else as it was.</summary>
    private static string? HintFrom(ImageContext context, string? hint, FileMove file)
    {
        var (folder, newFolder) = (Path.GetDirectoryName(file.From) ?? "/", Path.GetDirectoryName(file.To) ?? "/");
        if (hint is null || Path.IsPathRooted(hint) || folder == newFolder || !context.Provider.FileExists(Path.GetFullPath(hint, folder)))
        {
            return hint;
        }

        var seen = Path.GetRelativePath(newFolder, Path.GetFullPath(hint, folder));
        VmdkLayout.RequireName(file.From, seen);
        return seen;
    }

    /// <summary>The text with other file names in its extent lines; every other byte stays.</summary>
    /// <param name="text">The text without what follows its end.</param>
    /// <param name="names">For every extent its new name; null keeps the old.</param>
    private static byte[] Text(ReadOnlySpan<byte> text, string?[] names)
    {
        var result = new List<byte>(text.Length + 256);
        var extent = 0;
        foreach (var range in text.Split((byte)'\n'))
        {
            var line = text[range];
            if (VmdkExtentLine.IsExtent(Encoding.Latin1.GetString(line).Trim()) && names[extent++] is { } name)
            {
                var (open, close) = (line.IndexOf((byte)'"'), line.LastIndexOf((byte)'"'));
                result.AddRange(line[..(open + 1)]);
                result.AddRange(Encoding.UTF8.GetBytes(name));
                result.AddRange(line[close..]);
            }
            else
            {
                result.AddRange(line);
            }

            result.Add((byte)'\n');
        }

        // One line end more than there were parts.
        result.RemoveAt(result.Count - 1);
        return [.. result];
    }

    /// <summary>The new name of an extent's file, which is added to <paramref name="files"/>; null for what stays where it is.</summary>
    private static string? NewName(VmdkExtentLine line, ImageContext context, string from, string newPath, List<FileMove> files)
    {
        if (line.Type == VmdkExtentType.Zero)
        {
            return null;
        }

        var folder = Path.GetDirectoryName(from) ?? "/";
        var path = Path.GetFullPath(line.FileName, folder);
        if (context.Provider.DeviceExists(path) || !string.Equals(Path.GetDirectoryName(path), folder, StringComparison.Ordinal))
        {
            return Path.IsPathRooted(line.FileName)
                ? null
                : throw Refused(from, $"it names its extent {ShownText.Path(line.FileName)} by a way from its own folder, which would lead elsewhere; write the full path into the descriptor first.");
        }

        var stem = Path.GetFileNameWithoutExtension(from) + "-";
        var name = Path.GetFileName(path);
        if (!name.StartsWith(stem, StringComparison.Ordinal))
        {
            throw Refused(from, $"its extent {ShownText.Path(name)} does not bear its name ({stem}…), so that another image may have it too; convert the image to the new place instead.");
        }

        var renamed = $"{Path.GetFileNameWithoutExtension(newPath)}-{name[stem.Length..]}";
        VmdkLayout.RequireName(newPath, renamed);
        var move = new FileMove(path, Path.Combine(Path.GetDirectoryName(newPath) ?? "/", renamed));
        if (move.From == move.To)
        {
            return null;
        }

        if (!files.Contains(move))
        {
            files.Add(move);
        }

        return renamed;
    }

    private static DiskException Refused(string path, string why) => new(ErrorKind.InvalidArgument, $"{path}: {why}") { Path = path };
}
