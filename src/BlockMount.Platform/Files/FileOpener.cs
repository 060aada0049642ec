using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Devices;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>Opens files and block devices, and says in one sentence why not.</summary>
internal static unsafe class FileOpener
{
    /// <summary>Opens and locks an existing file or block device.</summary>
    /// <param name="path">Its name.</param>
    /// <param name="access">What it is opened for; a block device is claimed for writing.</param>
    /// <param name="options">What it may be.</param>
    /// <param name="isDirect">Whether to go past the page cache of a block device where that can be.</param>
    /// <exception cref="DiskException">As <see cref="IStoreProvider.OpenAsync"/> lists.</exception>
    public static HostFile Open(string path, StoreAccess access, StoreOpenOptions options, bool isDirect = true)
    {
        CheckName(path);
        var noFollow = (options & StoreOpenOptions.NoFinalSymlink) != 0;

        // Looked at before it is opened, because opening some devices sets them off; looked at again after, for it may have changed.
        FileFacts before;
        var result = Shim.FactsOfPath(path, noFollow ? 0 : 1, &before);
        if (result < 0)
        {
            throw HostErrors.OnPath(result, path, "opened");
        }

        CheckType(path, before.Type, options);
        var flags = (access == StoreAccess.Write ? OpenFlags.Write : OpenFlags.Read)
            | (noFollow ? OpenFlags.NoFollow : 0);
        if (before.Type == FileType.BlockDevice)
        {
            flags |= access == StoreAccess.Write ? OpenFlags.Claim : 0;
            flags |= isDirect ? OpenFlags.Direct : 0;
        }

        var handle = new DescriptorHandle(OpenDescriptor(path, access, before, ref flags));
        try
        {
            return Finish(handle, path, access, options, (flags & OpenFlags.Direct) != 0);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Creates and locks an empty file, its name durable.</summary>
    /// <exception cref="DiskException">As <see cref="IStoreProvider.CreateAsync"/> lists.</exception>
    public static HostFile Create(string path)
    {
        CheckName(path);
        var descriptor = Shim.Open(path, OpenFlags.Write | OpenFlags.Create);
        if (descriptor < 0)
        {
            throw HostErrors.KindOf(descriptor) == HostErrorKind.Exists
                ? new DiskException(ErrorKind.AlreadyExists, $"{path}: exists already and is never overwritten; choose another name or remove it.") { Path = path }
                : HostErrors.OnPath(descriptor, path, "created");
        }

        var handle = new DescriptorHandle(descriptor);
        try
        {
            var file = Finish(handle, path, StoreAccess.Write, StoreOpenOptions.None, isDirect: false);
            SyncName(path, "created durably");
            return file;
        }
        catch
        {
            handle.Dispose();
            _ = Shim.Unlink(path);
            throw;
        }
    }

    /// <summary>Gives an open file the name of another regular file, in its place and durably.</summary>
    /// <exception cref="DiskException">As <see cref="IStoreProvider.ReplaceAsync"/> lists.</exception>
    public static HostFile Replace(HostFile made, string path)
    {
        var result = Shim.Replace(made.Name, path);
        if (result < 0)
        {
            throw HostErrors.OnPath(result, path, "replaced by a new file");
        }

        if ((ReplaceOutcome)result != ReplaceOutcome.Done)
        {
            var why = (ReplaceOutcome)result switch
            {
                ReplaceOutcome.Symlink => "a symbolic link; name the file behind it",
                ReplaceOutcome.SeveralNames => "a file of several names (hard links), the rest of which would go on naming the old one; copy it first",
                _ => "no regular file",
            };
            throw new DiskException(ErrorKind.InvalidArgument, $"{path}: cannot be replaced by a new file, it is {why}.") { Path = path };
        }

        SyncName(path, "replaced durably");
        return made.Renamed(path);
    }

    /// <exception cref="DiskException">The name is empty or holds a zero character, at which the host would cut it.</exception>
    public static void CheckName(string path)
    {
        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"\"{path.Replace("\0", "\\0", StringComparison.Ordinal)}\" is no file name: it is empty or holds a zero character.")
            { Path = path };
        }
    }

    /// <summary>Makes the entry of a name in its folder durable.</summary>
    public static void SyncName(string path, string what)
    {
        var result = Shim.SyncDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);

        // Some file systems, such as vfat over FUSE, have no such operation.
        if (result < 0 && HostErrors.KindOf(result) is not (HostErrorKind.Invalid or HostErrorKind.Unsupported))
        {
            throw HostErrors.OnPath(result, path, what);
        }
    }

    private static HostFile Finish(DescriptorHandle handle, string path, StoreAccess access, StoreOpenOptions options, bool isDirect)
    {
        var descriptor = handle.Enter();
        try
        {
            FileFacts facts;
            var result = Shim.FactsOfDescriptor(descriptor, &facts);
            var inMemory = false;
            if (result == 0)
            {
                CheckType(path, facts.Type, options);
                if (facts.Type == FileType.BlockDevice)
                {
                    result = FinishDevice(descriptor, path, access, isDirect);
                }
                else
                {
                    result = Shim.IsInMemory(descriptor);
                    inMemory = result > 0;
                }
            }

            if (result < 0)
            {
                throw HostErrors.OnPath(result, path, "opened");
            }

            if (!FileLocks.TryTake(handle, path, access))
            {
                throw new DiskException(
                    ErrorKind.Busy, $"{path}: cannot be opened for {(access == StoreAccess.Write ? "writing" : "reading")}, it is in use by {FileHolders.Describe(facts)}.")
                { Path = path };
            }

            return new(handle, path, facts, inMemory, isDirect);
        }
        finally
        {
            handle.Leave();
        }
    }

    private static int FinishDevice(int descriptor, string path, StoreAccess access, bool isDirect)
    {
        DeviceState state;
        var result = Shim.Device(descriptor, &state);
        if (result < 0)
        {
            return result;
        }

        // The host opens such a device for writing all the same, and then refuses each write.
        if (access == StoreAccess.Write && state.ReadOnly != 0)
        {
            throw DeviceClaim.ReadOnly(path);
        }

        if (!isDirect && access == StoreAccess.Write)
        {
            // What was cached before the claim may be older than the disk. Both are requests, and only root may make the second.
            _ = Shim.FlushBuffers(descriptor);
            _ = Shim.DropCache(descriptor);
        }

        return 0;
    }

    /// <summary>Takes <see cref="OpenFlags.Direct"/> off where the host does not take it.</summary>
    private static int OpenDescriptor(string path, StoreAccess access, in FileFacts facts, ref OpenFlags flags)
    {
        if (access != StoreAccess.Write)
        {
            // Evidence keeps its access time where we may ask for that.
            var quiet = Shim.Open(path, flags | OpenFlags.NoAccessTime);
            if (quiet >= 0)
            {
                return quiet;
            }
        }

        var descriptor = Shim.Open(path, flags);
        if (descriptor < 0 && (flags & OpenFlags.Direct) != 0 && HostErrors.KindOf(descriptor) == HostErrorKind.Invalid)
        {
            flags &= ~OpenFlags.Direct;
            descriptor = Shim.Open(path, flags);
        }

        return descriptor >= 0 ? descriptor : throw OpenFailure(path, access, facts, descriptor);
    }

    private static DiskException OpenFailure(string path, StoreAccess access, in FileFacts facts, int result)
    {
        if (access == StoreAccess.Write)
        {
            var isDevice = facts.Type == FileType.BlockDevice;
            switch (HostErrors.KindOf(result))
            {
                case HostErrorKind.Access or HostErrorKind.ReadOnlyFileSystem when isDevice && IsReadOnly(facts):
                    return DeviceClaim.ReadOnly(path);
                case HostErrorKind.Access or HostErrorKind.ReadOnlyFileSystem:
                    return new(ErrorKind.AccessDenied, $"{path}: cannot be opened for writing: {HostErrors.TextOf(result)}; add --read-only to open it for reading.")
                    { Path = path };
                case HostErrorKind.Busy when isDevice:
                    return DeviceClaim.Refused(path, BlockNumber.From(facts.Represents), HostTree.Present);
            }
        }

        return HostErrors.KindOf(result) == HostErrorKind.LinkLoop ? SymbolicLink(path) : HostErrors.OnPath(result, path, "opened");
    }

    private static bool IsReadOnly(in FileFacts device) => SysDevice.Find(HostTree.Present, BlockNumber.From(device.Represents)) is { IsReadOnly: true };

    private static void CheckType(string path, FileType type, StoreOpenOptions options)
    {
        switch (type)
        {
            case FileType.File when (options & StoreOpenOptions.OnlyDevice) == 0:
            case FileType.BlockDevice when (options & (StoreOpenOptions.AllowDevice | StoreOpenOptions.OnlyDevice)) != 0:
                return;
            case FileType.File:
                throw new DiskException(ErrorKind.InvalidArgument, $"{path}: is a regular file, and only a block device may be opened here.") { Path = path };
            case FileType.Symlink:
                throw SymbolicLink(path);
            case FileType.BlockDevice:
                throw new DiskException(ErrorKind.InvalidArgument, $"{path}: is a block device, which may be opened here only with --allow-devices.")
                { Path = path };
        }

        var what = type switch
        {
            FileType.Directory => "a directory",
            FileType.Fifo => "a FIFO",
            FileType.Socket => "a socket",
            FileType.CharacterDevice => "a character device",
            _ => "neither a file nor a device",
        };
        throw new DiskException(ErrorKind.InvalidArgument, $"{path}: is {what}, not a regular file or block device.") { Path = path };
    }

    private static DiskException SymbolicLink(string path) =>
        new(ErrorKind.InvalidArgument, $"{path}: is a symbolic link, which is not followed for a path taken from an image.") { Path = path };
}
