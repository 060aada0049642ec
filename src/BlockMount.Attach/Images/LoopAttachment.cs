using BlockMount.Attach.Fuse;
using BlockMount.Attach.Host;
using BlockMount.Attach.Kernel;
using BlockMount.Attach.Leftovers;
using BlockMount.Core.Errors;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Kernel;

namespace BlockMount.Attach.Images;

/// <summary>
/// A disk as a loop device over a file that FUSE shows: for hosts whose kernel has no nbd driver. When this process ends without a word the requests to the device fail, and no other can
/// go on with it. Needs root.
/// </summary>
public sealed class LoopAttachment
{
    private readonly MountSteps _steps;
    private readonly FuseMount _files;

    private LoopAttachment(MountSteps steps, FuseMount files, string device, IReadOnlyList<string> notes) =>
        (_steps, _files, Device, Notes) = (steps, files, device, notes);

    /// <summary>As <c>/dev/loop3</c>.</summary>
    public string Device { get; }

    /// <summary>A sentence for each partition that the kernel does not show.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Ends when the file is shown no more and the disk is flushed; fails when that flush did.</summary>
    public Task Completion => _files.Completion;

    /// <summary>Attaches, and makes the nodes of the partitions.</summary>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.AccessDenied"/>: not root. <see cref="ErrorKind.HostLacks"/>: no FUSE, or no loop devices. Nothing stays attached then; what could not be undone is named.
    /// </exception>
    public static async Task<LoopAttachment> StartAsync(LoopAttachRequest request, CancellationToken cancellationToken = default)
    {
        var steps = new MountSteps(MountJournal.Create(request.JournalFile, request.Image, request.PrivateFolder));
        try
        {
            steps.MakeFolder(request.PrivateFolder);
            var files = await steps.MountFilesAsync(
                request.PrivateFolder, [new VirtualFile(ImageFiles.WholeDisk, request.Disk)], request.Fuse, HostProgram.RunAsync, cancellationToken);
            var file = Path.Combine(files.MountDirectory, ImageFiles.WholeDisk);
            var loop = await steps.AttachLoopAsync(file, request.Disk.IsReadOnly, request.BlockSize, HostProgram.RunAsync, cancellationToken);
            return new LoopAttachment(steps, files, loop.Device, PartitionNodes.Settle(loop.Device, request.Partitions).Notes);
        }
        catch (Exception error)
        {
            if (await steps.UndoAfterAsync(error, request.Fuse.Logger, request.Image) is { } left)
            {
                throw left;
            }

            throw;
        }
    }

    /// <summary>Detaches the device and ends the file; may be called again after it has failed.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.Busy"/>, naming who uses it; or the last flush failed.</exception>
    public async Task DetachAsync(CancellationToken cancellationToken = default)
    {
        await NbdNode.RequireUnusedAsync(Device, "end that first.", cancellationToken);
        await NbdNode.SettleAsync(cancellationToken);

        // The last chance of pages that a program wrote to the node and left to the kernel.
        await Task.Run(() => DiskUsers.WriteOut(Device), cancellationToken);
        foreach (var partition in KernelPartitions.Of(Device))
        {
            KernelPartitions.Remove(Device, partition.Number);
        }

        await _steps.EndAsync();
        await Completion;
    }
}
