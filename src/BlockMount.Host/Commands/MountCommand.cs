using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using BlockMount.Attach.Images;
using BlockMount.Attach.Leftovers;
using BlockMount.Attach.Loop;
using BlockMount.Attach.Roads;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;
using BlockMount.Platform.Hosts;
using BlockMount.Platform.Kernel;

namespace BlockMount.Host.Commands;

/// <summary><c>mount</c>: a disk as a folder, kept by a process in the background.</summary>
internal static class MountCommand
{
    private const string Auto = "auto";
    private const string Fuse = "fuse";

    private static readonly Dictionary<string, MountRoad> s_roads = new(StringComparer.Ordinal)
    {
        [Auto] = MountRoad.Auto, ["nbd"] = MountRoad.Nbd, ["loop"] = MountRoad.Loop, [Fuse] = MountRoad.Files,
    };

    public static Command Create(ImageOpener opener)
    {
        var image = CommonArguments.Image();
        var directory = new Argument<string>("DIR") { Description = "An empty folder" };
        var files = new Option<bool>("--files") { Description = "Show disk.raw, p1.raw … and info.json instead of mounting the file system" };
        var via = new Option<string?>("--via")
        {
            Description = "How the disk comes there: nbd, loop (a loop device over FUSE), fuse (files only), or auto, the first of these that comes up (default)",
            HelpName = "auto|nbd|loop|fuse",
        };
        via.AcceptOnlyFromAmong([.. s_roads.Keys]);
        var own = new Option<string?>("--options", "-o") { Description = "Mount options on top of this program's own, such as noatime,uid=1000", HelpName = "LIST" }.NotEmpty();
        var foreground = new Option<bool>("--foreground") { Description = "Stay in this terminal until unmounted or Ctrl+C" };
        var child = new Option<bool>(BackgroundLauncher.ChildOption) { Hidden = true };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command("mount", "Mount a disk, or its file systems, on a folder.") { image, directory, files, via, own, foreground, child, json };
        options.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetValue(files) && result.GetValue(via) is not (null or Auto or Fuse))
            {
                result.AddError($"--files shows the disk through FUSE; leave --via {result.GetValue(via)} out.");
            }
        });
        command.SetExamples("blockmount mount leaf.vdi /mnt/disk", "blockmount mount --read-only --partition 2 leaf.vdi /mnt/disk", "blockmount unmount /mnt/disk");
        command.SetWork(async (result, cancellation) =>
        {
            var inBackground = result.GetValue(child);
            if (!inBackground && !result.GetValue(foreground))
            {
                var start = OwnProgram.StartInfo(Environment.GetCommandLineArgs().Skip(1).Append(BackgroundLauncher.ChildOption));
                return await BackgroundLauncher.StartAsync(start, static s => ReclaimSafety.Inherited(() => Process.Start(s)), cancellation);
            }

            if (!inBackground && !ReclaimSafety.IsOn)
            {
                var again = OwnProgram.StartInfo(Environment.GetCommandLineArgs().Skip(1));
                ReclaimSafety.Become(again.FileName, [.. again.ArgumentList]);
            }

            var request = options.Read(result);
            var choices = ChoicesOf(result.GetValue(files), result.GetValue(via), result.GetValue(own), request);
            if (choices.Options.Contains("ro", StringComparer.Ordinal))
            {
                request = request with { Chain = request.Chain with { ReadOnly = true } };
            }

            var name = result.GetRequiredValue(image);
            if (choices.Road != MountRoad.Files && await opener.PartitionNodeAsync(name, request, cancellation) is { } node)
            {
                // The node is a disk of its own, without a table.
                (name, request, choices) = (node, request with { Partition = null }, choices with { Choice = MountChoice.Auto });
            }

            await using var opened = await opener.OpenToServeAsync(name, request with { Partition = null }, cancellation);
            await RunAsync(opened, Path.GetFullPath(result.GetRequiredValue(directory)), choices, request.AllowTruncated, inBackground, result.GetValue(json), cancellation);
            return ExitCode.Done;
        });
        return command;
    }

    private static string NameOf(MountRoad road) => s_roads.First(r => r.Value == road).Key;

    private static Choices ChoicesOf(bool files, string? via, string? own, ImageRequest request)
    {
        var options = own is null ? [] : OwnOptions.Parse(own);
        var road = files ? MountRoad.Files : s_roads[via ?? Auto];
        return road == MountRoad.Files && options.Count > 0
            ? throw new DiskException(ErrorKind.InvalidArgument, $"--options {own}: files are shown and no file system is mounted, so there is nothing for mount options to change.")
            : new Choices(road, road == MountRoad.Files ? MountChoice.FilesOnly : request.Partition is { } number ? MountChoice.Partition(number) : MountChoice.Auto, options);
    }

    private static async Task RunAsync(
        OpenedImage opened, string directory, Choices choices, bool allowTruncated, bool inBackground, bool json, CancellationToken cancellation)
    {
        await using var meter = new MeterDevice(new PeriodicFlushDevice(new OrderedWritesDevice(opened.Device), ServeDefaults.FlushInterval));
        var contents = await DiskContents.ReadAsync(meter, new PartitionReadOptions { AllowTruncated = allowTruncated }, cancellation);
        var run = RunDirectory.Ensure();
        await using var kernel = new KernelExport(string.Empty, meter, opened);
        var journal = MountFolders.JournalOf(Environment.ProcessId, run);
        foreach (var cleared in await AbandonedMounts.ClearWayAsync(directory, journal, RunDirectory.Existing(), cancellation))
        {
            await Console.Error.WriteLineAsync(
                $"blockmount: warning: the {HostLeftovers.Describe(cleared.Item)}, was left by a killed process and {(cleared.Failure is { } failure ? $"is still there: {failure}" : "was taken away.")}");
        }

        var since = DateTimeOffset.UtcNow;
        var info = InfoCommand.Describe(opened, contents);
        var mount = await ImageMount.StartAsync(
            new ImageMountRequest
            {
                Device = meter,
                Directory = directory,
                PrivateFolder = MountFolders.FilesOf(Environment.ProcessId, run),
                JournalFile = journal,
                Image = Path.GetFullPath(opened.Path),
                Partitions = contents.Table.Partitions.Where(static p => !p.IsContainer)
                    .Select(p => new ImagePartition(p.Number, p.Start, p.Length, contents.MountableIn(p)) { WhyReadOnly = p.WhyReadOnly }).ToList(),
                WholeDiskFileSystem = contents.Table.Content is { IsMountable: true } whole ? whole.Name : null,
                IsReadOnly = meter.IsReadOnly,
                Choice = choices.Choice,
                Via = choices.Road,
                Nbd = () => kernel.Request(KernelExport.BackendOf(opened, Path.GetFullPath(opened.Path))),
                Options = choices.Options,
                Owner = MountOwner.OfCaller(Environment.GetEnvironmentVariable),
                Info = JsonSerializer.SerializeToUtf8Bytes(info, JsonModels.Default.InfoDocument),
            },
            cancellation);
        if (mount.Via == MountRoad.Nbd && !meter.IsReadOnly && ReclaimSafety.Pin() is { } refusal)
        {
            await Console.Error.WriteLineAsync($"blockmount: warning: {refusal}");
        }

        await using var work = new ChainWork(opened, directory);
        await using var control = new ControlSocket(
            run, new HostControl(Status, mount.UnmountAsync) { Exports = new SingleDiskControl(directory, "unmount", work), Problems = () => ExportFactsOf.Problems(directory, opened) });
        Report(mount, directory, opened, json);
        if (inBackground)
        {
            BackgroundLauncher.Ready();
        }

        await UntilReleased.WaitAsync(mount.Completion, mount.UnmountAsync, cancellation);

        HostStatus Status() => new()
        {
            Name = directory,
            Pid = Environment.ProcessId,
            Command = "mount",
            Since = since,
            Exports = [ExportFactsOf.Device(directory, string.Empty, opened, meter) with { Images = ExportFactsOf.Images(opened) }],
            Mount = directory,
            Devices = mount.Mounted.Select(m => m.Device).OfType<string>().ToList(),
        };
    }

    private static void Report(ImageMount mount, string directory, OpenedImage opened, bool json)
    {
        var mode = opened.Device.IsReadOnly ? "read-only" : "read-write";
        if (json)
        {
            var things = mount.Mounted.Select(m => new MountedFacts(m.Directory, m.FileSystem, m.Partition, m.Device, m.IsReadOnly)).ToList();
            Console.WriteLine(JsonSerializer.Serialize(new MountDocument(directory, Environment.ProcessId, mode, NameOf(mount.Via), things, mount.Reason), JsonModels.Default.MountDocument));
            return;
        }

        Console.WriteLine($"{mount.Reason} (by {NameOf(mount.Via)})");
        foreach (var thing in mount.Mounted)
        {
            Console.WriteLine($"{thing.Directory}: {thing.FileSystem ?? "files"}, {(thing.IsReadOnly ? "read-only" : "read-write")}{(thing.Device is null ? "" : $", {thing.Device}")}");
        }

        Console.WriteLine($"To unmount: blockmount unmount {directory}");
    }

    /// <summary>What the user says about the way, beside the image.</summary>
    private sealed record Choices(MountRoad Road, MountChoice Choice, IReadOnlyList<string> Options);
}
