using System.CommandLine;
using BlockMount.Core.Chain;
using BlockMount.Host.Images;

namespace BlockMount.Host.Cli;

/// <summary>The options common to every command that opens an image.</summary>
internal sealed class ImageOptions
{
    public ImageOptions()
    {
        HiddenWrites.AcceptOnlyFromAmong("refuse", "drop");
        DetectZeroes.AcceptOnlyFromAmong("off", "on", "unmap");
    }

    public Option<string?> Format { get; } = new("--format", "-f") { Description = "Format of the image instead of detecting it (vdi, vmdk, vhd, raw)", HelpName = "NAME" };

    public Option<string[]> Search { get; } = new Option<string[]>("--search") { Description = "Folder where parents may lie (repeatable)", HelpName = "DIR" }.NotEmpty();

    public Option<string[]> AllowPath { get; } = new Option<string[]>("--allow-path") { Description = "Folder that a .vbox file or a VMDK's descriptor may point into (repeatable)", HelpName = "DIR" }.NotEmpty();

    public Option<bool> AllowDevices { get; } = new("--allow-devices") { Description = "A descriptor may reach block devices" };

    public Option<bool> ReadOnly { get; } = new("--read-only", "-r") { Description = "Change nothing; writes are refused" };

    public Option<string?> Overlay { get; } = new Option<string?>("--overlay") { Description = "Writes go to this differencing image, or to one that is thrown away", HelpName = "FILE|temp" }.NotEmpty();

    public Option<string?> HiddenWrites { get; } = new Option<string?>("--hidden-writes")
    {
        Description = "What becomes of writes to parts of a disk that its descriptor does not show: refuse (default), or drop and count them",
        HelpName = "refuse|drop",
    };

    public Option<string?> DetectZeroes { get; } = new Option<string?>("--detect-zeroes")
    {
        Description = "What becomes of zeros that are written: stored (off, the default), no new space taken for them (on), or space given back as well (unmap)",
        HelpName = "off|on|unmap",
    };

    public Option<int?> Partition { get; } = new("--partition") { Description = "Only this partition, numbered as the system does", HelpName = "N" };

    public Option<bool> AllowTruncated { get; } = new("--allow-truncated") { Description = "Show a partition that reaches past the end of the disk cut there, read-only" };

    public Option<long?> Offset { get; } = SizeOption("--offset", "First byte of the part to show");

    public Option<long?> Size { get; } = SizeOption("--size", "Length of the part (convert without --offset: size of the new disk)");

    public static Option<long?> SizeOption(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "SIZE",
        CustomParser = static result =>
        {
            var text = result.Tokens[0].Value;
            if (SizeText.Parse(text) is { } size)
            {
                return size;
            }

            result.AddError($"'{text}' is not a size; write bytes or a number with K, M, G, T, such as 64K or 10G.");
            return null;
        },
    };

    /// <summary>Adds the options to a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="window">Whether the command can work on a part of the disk.</param>
    /// <param name="writing">Whether the command can write to the image.</param>
    public void AddTo(Command command, bool window = true, bool writing = true)
    {
        command.Add(Format);
        command.Add(Search);
        command.Add(AllowPath);
        command.Add(AllowDevices);
        command.Add(ReadOnly);
        if (writing)
        {
            command.Add(Overlay);
            command.Add(HiddenWrites);
            command.Add(DetectZeroes);
        }

        if (window)
        {
            command.Add(Partition);
            command.Add(AllowTruncated);
            command.Add(Offset);
            command.Add(Size);
        }
    }

    /// <param name="result">The parsed command line.</param>
    /// <param name="readOnly">True when the command never writes.</param>
    public ImageRequest Read(ParseResult result, bool readOnly = false) => new()
    {
        Chain = new ChainOpenOptions
        {
            ReadOnly = readOnly || result.GetValue(ReadOnly),
            Format = result.GetValue(Format),
            SearchDirectories = result.GetValue(Search) ?? [],
            AllowPaths = result.GetValue(AllowPath) ?? [],

            // Whoever names a device as IMAGE means it; the option is about devices that a file names.
            LeafMayBeDevice = true,
            AllowDevices = result.GetValue(AllowDevices),
            DropHiddenWrites = result.GetResult(HiddenWrites) is not null && result.GetValue(HiddenWrites) == "drop",
        },
        Overlay = result.GetResult(Overlay) is null ? null : result.GetValue(Overlay),
        Spared = (result.GetResult(DetectZeroes) is null ? null : result.GetValue(DetectZeroes)) switch
        {
            "on" => ThriftyWrites.Zeroes,
            "unmap" => ThriftyWrites.ZeroesFreeSpace,
            _ => ThriftyWrites.None,
        },
        Partition = result.GetResult(Partition) is null ? null : result.GetValue(Partition),
        AllowTruncated = result.GetValue(AllowTruncated),
        Offset = result.GetResult(Offset) is null ? null : result.GetValue(Offset),
        Size = result.GetResult(Size) is null ? null : result.GetValue(Size),
    };
}
