using System.CommandLine;
using System.Text.Json;
using BlockMount.Attach.Kernel;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Host.Cli;
using BlockMount.Host.Hosting;
using BlockMount.Host.Images;
using BlockMount.Platform.Hosts;
using BlockMount.Platform.Kernel;

namespace BlockMount.Host.Commands;

/// <summary><c>attach</c>: a disk as a block device of this host, kept by a process in the background; or the devices of hosts that ended, kept again.</summary>
internal static class AttachCommand
{
    /// <summary>Hidden: a device that waits is taken over, and none is made.</summary>
    public const string RecoverOnlyOption = "--recover-only";

    private const string Loop = "loop";

    public static Command Create(ImageOpener opener, IStoreProvider provider)
    {
        var image = new Argument<string?>("IMAGE") { Arity = ArgumentArity.ZeroOrOne, Description = "The disk; with --recover a device, a name or nothing" };
        var name = OptionRules.NotEmpty(new Option<string?>("--name", "-x") { Description = "Name for list, status and detach; default that of the image", HelpName = "NAME" });
        var device = OptionRules.NotEmpty(new Option<string?>("--device") { Description = "This device instead of a free one", HelpName = "/dev/nbdN" });
        var via = new Option<string?>("--via") { Description = "How the disk comes to the kernel: nbd, loop (a loop device over FUSE, with which no other host can go on), or auto, the first that there is (default)", HelpName = "auto|nbd|loop" };
        via.AcceptOnlyFromAmong("auto", "nbd", "loop");
        var connections = new Option<int?>("--connections") { Description = $"Connections between the kernel and this program, 1 to {KernelExport.MostConnections}; default one for each processor, at most 4", HelpName = "N" };
        var blockSize = new Option<long?>("--block-size") { Description = "Bytes of a logical sector: 512, 1024, 2048 or 4096; default that of the disk", HelpName = "BYTES", CustomParser = ImageOptions.SizeOption("--block-size", "").CustomParser };
        var timeout = new Option<int>("--timeout") { Description = "Seconds after which the kernel sends a request again that has no answer, as after a change of hosts; default 30", HelpName = "SECONDS", DefaultValueFactory = static _ => 30 };
        var reconnect = new Option<int>("--reconnect-time") { Description = "Seconds that the device waits for another host when this one is killed, before it fails requests, default 60; 0: as short as it may be (10), and no other host goes on", HelpName = "SECONDS", DefaultValueFactory = static _ => 60 };
        var discard = new Option<string?>("--discard") { Description = "What trims do: unmap gives space back (default for files), ignore refuses them (default for block devices)", HelpName = "ignore|unmap" };
        discard.AcceptOnlyFromAmong("ignore", "unmap");
        var recover = new Option<bool>("--recover") { Description = "Take over devices whose host was killed, and those of running hosts (to go on with a new version of this program)" };
        var foreground = new Option<bool>("--foreground") { Description = "Stay in this terminal until detached or Ctrl+C" };
        var recoverOnly = new Option<bool>(RecoverOnlyOption) { Hidden = true };
        var child = new Option<bool>(BackgroundLauncher.ChildOption) { Hidden = true };
        var json = CommonArguments.Json();
        var options = new ImageOptions();
        var command = new Command("attach", "Make a disk a block device of this host (/dev/nbdN, or a loop device over FUSE); prints the device.")
        {
            image, name, device, via, connections, blockSize, timeout, reconnect, discard, recover, foreground, recoverOnly, child, json,
        };
        options.AddTo(command);
        command.SetExamples("blockmount attach leaf.vdi", "blockmount attach --read-only --device /dev/nbd3 leaf.vdi", "blockmount detach /dev/nbd0", "blockmount attach --recover");
        command.SetWork(async (result, cancellation) =>
        {
            if (result.GetValue(recover))
            {
                return await AttachRecovery.RunAsync(result.GetValue(image), cancellation);
            }

            var named = result.GetValue(image) ?? throw Wrong("Nothing to attach: name an image, or --recover.");
            var request = new AttachRequest
            {
                Arguments = [.. Environment.GetCommandLineArgs().Skip(1).Where(static a => a is not BackgroundLauncher.ChildOption and not RecoverOnlyOption and not "--foreground")],
                Image = named,
                Open = options.Read(result),
                Name = result.GetValue(name),
                Via = result.GetValue(via) is { } road and not "auto" ? road : null,
                Index = IndexOf(result.GetValue(device)),
                Connections = InRange("--connections", result.GetValue(connections) ?? KernelExport.UsualConnections, 1, KernelExport.MostConnections),
                BlockSize = result.GetResult(blockSize) is null ? null : BlockSizeOf(result.GetValue(blockSize)),
                Timeout = TimeSpan.FromSeconds(InRange("--timeout", result.GetValue(timeout), 1, 24 * 60 * 60)),
                ReconnectTime = TimeSpan.FromSeconds(InRange("--reconnect-time", result.GetValue(reconnect), 0, 24 * 60 * 60)),
                Trim = result.GetValue(discard) is { } word ? word == "unmap" : null,
                RecoverOnly = result.GetValue(recoverOnly),
                InBackground = result.GetValue(child),
                Json = result.GetValue(json),
            };
            RequireSense(request, [.. new Option[] { device, connections, timeout, reconnect, discard }.Where(o => result.GetResult(o) is { Implicit: false }).Select(static o => o.Name)]);
            if (!OperatingSystem.IsLinux())
            {
                throw new DiskException(ErrorKind.HostLacks, "attach makes a device of the Linux kernel; on this host use mount or serve.");
            }

            if (!request.InBackground && !result.GetValue(foreground))
            {
                var start = OwnProgram.StartInfo(Environment.GetCommandLineArgs().Skip(1).Append(BackgroundLauncher.ChildOption));
                return await BackgroundLauncher.StartAsync(start, static s => ReclaimSafety.Inherited(() => System.Diagnostics.Process.Start(s)), cancellation);
            }

            if (!request.InBackground && !ReclaimSafety.IsOn)
            {
                var again = OwnProgram.StartInfo(Environment.GetCommandLineArgs().Skip(1));
                ReclaimSafety.Become(again.FileName, [.. again.ArgumentList]);
            }

            return await RunAsync(opener, provider, request, cancellation);
        });
        return command;
    }

    private static async Task<int> RunAsync(ImageOpener opener, IStoreProvider provider, AttachRequest request, CancellationToken cancellation)
    {
        await using var disk = await StartAsync(opener, provider, request, cancellation);
        if (!disk.IsReadOnly && ReclaimSafety.Pin() is { } refusal)
        {
            await Console.Error.WriteLineAsync($"blockmount: warning: {refusal}");
        }

        await using var control = new ControlSocket(RunDirectory.Ensure(), disk.Control);
        Report(disk, request);
        if (request.InBackground)
        {
            BackgroundLauncher.Ready();
        }

        await UntilReleased.WaitAsync(disk.Completion, disk.DetachAsync, cancellation);
        return ExitCode.Done;
    }

    /// <summary>What only the nbd driver has makes that the road; so does a device that waits for a host.</summary>
    private static async Task<IAttachedDisk> StartAsync(ImageOpener opener, IStoreProvider provider, AttachRequest request, CancellationToken cancellation) =>
        request.Via == Loop || (request is { Via: null, Index: null, RecoverOnly: false } && !await NbdDevice.IsSupportedAsync(cancellation))
            ? await LoopHost.StartAsync(opener, request, cancellation)
            : await AttachHost.StartAsync(opener, provider, request, cancellation);

    private static void RequireSense(AttachRequest request, IReadOnlyList<string> given)
    {
        if (request.Via == Loop && given.Count > 0)
        {
            throw Wrong($"{given[0]} is for devices of the nbd driver, and --via loop makes another; give one of the two.");
        }
    }

    private static void Report(IAttachedDisk disk, AttachRequest request)
    {
        var status = disk.Control.Status();
        var facts = status.Exports[0];
        var partitions = KernelPartitions.Of(disk.Device);
        if (request.Json)
        {
            var shown = partitions.Select(static p => new AttachedPartition(p.Number, p.Path, p.Start, p.Length)).ToList();
            var document = new AttachDocument(
                disk.Device, disk.Via, status.Name, facts.Image, facts.Mode ?? string.Empty, status.Pid, disk.Capacity, disk.BlockSize, disk.Connections, shown, disk.IsTakenOver, disk.Notes);
            Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.AttachDocument));
            return;
        }

        foreach (var note in disk.Notes)
        {
            Console.Error.WriteLine($"blockmount: {note}");
        }

        if (disk.Via == Loop && request.Via is null)
        {
            Console.Error.WriteLine($"blockmount: the kernel has no nbd driver (modprobe nbd); {disk.Device} is a loop device over FUSE, and fails when process {status.Pid} is killed.");
        }

        Console.WriteLine(disk.Device);
    }

    private static int? IndexOf(string? device) => device is null
        ? null
        : (NbdNode.Parse(device) ?? throw Wrong($"--device {device}: it is none of the kernel's nbd devices, such as /dev/nbd3.")).Index;

    private static int BlockSizeOf(long? size) => size is 512 or 1024 or 2048 or 4096
        ? (int)size
        : throw Wrong($"--block-size {size}: allowed are 512, 1024, 2048 and 4096.");

    private static int InRange(string option, int value, int least, int most) => value >= least && value <= most
        ? value
        : throw Wrong($"{option} {value}: allowed is {least} to {most}.");

    private static DiskException Wrong(string sentence) => new(ErrorKind.InvalidArgument, sentence);
}
