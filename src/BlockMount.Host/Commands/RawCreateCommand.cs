using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.RawDisks;
using BlockMount.Core.Storage;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;

namespace BlockMount.Host.Commands;

/// <summary><c>raw create</c>: a descriptor that gives a disk, or some of its partitions, to a virtual machine.</summary>
internal static class RawCreateCommand
{
    // VirtualBox's limit.
    private const long LargestBootSector = 4 << 20;

    public static Command Create(IStoreProvider provider, ImageCreator creator)
    {
        var file = new Argument<string>("OUT.vmdk") { Description = "The new descriptor; an existing file is never overwritten" };
        var disk = new Option<string>("--disk") { Description = "The disk, such as /dev/sdb or a link of /dev/disk/by-id, which stays right when disks change places", HelpName = "DEV", Required = true }.NotEmpty();
        var partitions = new Option<string?>("--partitions") { Description = "Only these partitions, r for read-only; without it the whole disk", HelpName = "1,5r" }.NotEmpty();
        var relative = new Option<bool>("--relative") { Description = "Name the partitions' nodes instead of the disk's, so that rights on those are enough" };
        var boot = new Option<string?>("--boot-sector") { Description = "Boot code for the private copy of the first sector; its table stays", HelpName = "FILE" }.NotEmpty();
        var access = new Option<string?>("--access") { Description = "rw (default), or ro: nothing of the disk may be written to", HelpName = "ro|rw" };
        access.AcceptOnlyFromAmong("ro", "rw");
        var json = CommonArguments.Json();
        var command = new Command("create", "Make a VMDK descriptor that gives a disk of this host, or some of its partitions, to a virtual machine.")
        {
            file, disk, partitions, relative, boot, access, json,
        };
        command.SetExamples(
            "blockmount raw create vm.vmdk --disk /dev/sdb", "blockmount raw create vm.vmdk --disk /dev/disk/by-id/ata-DISK_1234 --partitions 1,5r",
            "blockmount raw create vm.vmdk --disk /dev/sdb --partitions 2 --relative");
        command.SetWork(async (result, cancellation) =>
        {
            var path = result.GetRequiredValue(file);
            var device = Path.GetFullPath(result.GetRequiredValue(disk));
            if (result.GetResult(partitions) is null && (result.GetValue(relative) || result.GetResult(boot) is not null))
            {
                throw new DiskException(
                    ErrorKind.InvalidArgument, $"{(result.GetValue(relative) ? "--relative" : "--boot-sector")} goes with --partitions; a whole disk is given as it is.");
            }

            var choice = new RawDiskChoice
            {
                Partitions = result.GetValue(partitions) is { } text ? Parse(text) : null,
                IsRelative = result.GetValue(relative),
                IsReadOnly = result.GetValue(access) == "ro",
                BootSector = await ReadBootSectorAsync(provider, result.GetValue(boot), cancellation),
                DiskPath = device,
            };
            var plan = await PlanAsync(provider, device, choice, cancellation);
            await WarnAsync(provider, plan);
            var options = new ImageCreateOptions { Capacity = plan.Descriptor.Capacity, RawDisk = plan.Descriptor };
            var format = FormatRegistry.ByName("vmdk");
            await creator.CreateAsync(path, format, options, cancellation);
            var document = Describe(path, format, options, plan.Descriptor);
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(document, JsonModels.Default.RawCreateDocument));
            }
            else
            {
                Print(document);
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static IReadOnlyList<RawPartitionChoice> Parse(string text)
    {
        try
        {
            return RawDiskChoice.ParsePartitions(text);
        }
        catch (DiskException e)
        {
            throw new DiskException(e.Kind, $"--partitions {text}: {e.Message}", e);
        }
    }

    private static async Task<ReadOnlyMemory<byte>?> ReadBootSectorAsync(IStoreProvider provider, string? name, CancellationToken cancellationToken)
    {
        if (name is null)
        {
            return null;
        }

        await using var store = await provider.OpenAsync(name, StoreAccess.Read, StoreOpenOptions.None, cancellationToken);
        if (store.Length > LargestBootSector)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{name}: it has {store.Length} bytes; a boot sector file may have up to {LargestBootSector}.");
        }

        var bytes = new byte[store.Length];
        await store.ReadAsync(0, bytes, cancellationToken);
        return bytes;
    }

    private static async Task<RawDiskPlan> PlanAsync(IStoreProvider provider, string device, RawDiskChoice choice, CancellationToken cancellationToken)
    {
        await using var disk = await HostDisk.OpenAsync(provider, device, cancellationToken);
        var facts = provider.DescribeDevice(device)
            ?? throw new DiskException(ErrorKind.HostLacks, $"{device}: the host tells nothing about this device (no /sys?).");
        if (facts.DiskPath is { } parent)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument, $"{device}: it is a partition; name its disk instead: --disk {parent} --partitions {facts.PartitionNumber}.");
        }

        return await new RawDiskPlanner(provider).PlanAsync(disk, facts, choice, cancellationToken);
    }

    /// <summary>What will be in the way when the descriptor is used.</summary>
    private static async Task WarnAsync(IStoreProvider provider, RawDiskPlan plan)
    {
        var ranges = plan.Descriptor.Parts is { } parts
            ? parts.Where(static p => p.Device is not null).Select(p => new DeviceRange(p.Device!, p.DeviceOffset, p.Length, plan.Descriptor.IsWritten(p)))
            : [new DeviceRange(plan.Descriptor.DiskPath, 0, plan.Descriptor.Capacity, !plan.Descriptor.IsReadOnly)];
        var users = ranges.SelectMany(r => DeviceUsers.Of(provider, r).Select(u => r.IsWritten
            ? $"{u}; it has to be released before the descriptor can be opened for writing."
            : $"{u}; what is read of it may change while it is read."));
        foreach (var warning in plan.Warnings.Concat(users.Distinct(StringComparer.Ordinal)))
        {
            await Console.Error.WriteLineAsync($"blockmount: warning: {warning}");
        }
    }

    private static RawCreateDocument Describe(string path, ImageFormat format, ImageCreateOptions options, RawDiskDescriptor disk)
    {
        var copy = format.FilesFor(path, options).Skip(1).FirstOrDefault();
        var parts = disk.Parts is null
            ? [new RawPartFacts(0, disk.Capacity, "device", disk.DiskPath, 0, disk.IsReadOnly ? "read-only" : "read-write")]
            : disk.Parts.Select(p => new RawPartFacts(
                p.Start, p.Length, p.Device is not null ? "device" : p.Data is not null ? "copy" : "hidden", p.Device, p.Device is null ? null : p.DeviceOffset,
                disk.IsWritten(p) ? "read-write" : "read-only")).ToList();
        return new(Path.GetFullPath(path), copy is null ? null : Path.GetFullPath(copy), disk.DiskPath, disk.Capacity, disk.Parts is null ? "full-device" : "partitioned-device", parts);
    }

    private static void Print(RawCreateDocument document)
    {
        Console.WriteLine($"{document.Path}: {(document.TableCopy is null ? "the whole disk" : "partitions")} of {document.Disk}, {SizeText.Show(document.Capacity)}");
        foreach (var part in document.Parts)
        {
            var what = part.Device is { } device
                ? $"{device}{(part.DeviceOffset > 0 ? $" from byte {part.DeviceOffset}" : "")}, {part.Access}"
                : $"private copy of the partition table, in {document.TableCopy}";
            Console.WriteLine($"   {SizeText.Show(part.Length),12} at {part.Start,-15} {what}");
        }

        if (document.TableCopy is not null)
        {
            Console.WriteLine("   everything else reads as zeros and refuses writes");
        }

        Console.WriteLine($"To use it: blockmount serve --allow-devices {document.Path}");
    }
}
