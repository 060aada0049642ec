using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>Other names for files, durable when a method returns.</summary>
internal static class FileNames
{
    /// <exception cref="DiskException">As <see cref="IStoreProvider.RenameAsync"/> lists.</exception>
    public static bool TryRename(string from, string to)
    {
        Check(from, to);
        var result = Shim.RenameNew(from, to);
        if (result < 0)
        {
            return HostErrors.KindOf(result) is HostErrorKind.OtherFileSystem or HostErrorKind.Unsupported
                ? false
                : throw Failure(result, from, to, "renamed");
        }

        // The new name first: a cut between leaves both, never none.
        FileOpener.SyncName(to, "renamed durably");
        FileOpener.SyncName(from, "renamed durably");
        return true;
    }

    /// <exception cref="DiskException">As <see cref="IStoreProvider.LinkAsync"/> lists.</exception>
    public static bool TryLink(string from, string to)
    {
        Check(from, to);
        var result = Shim.LinkNew(from, to);
        if (result < 0)
        {
            // Systems refuse a second name in the words of missing rights where the file system has none, and for files of others.
            return HostErrors.KindOf(result) is HostErrorKind.OtherFileSystem or HostErrorKind.Unsupported or HostErrorKind.Access
                ? false
                : throw Failure(result, from, to, "linked");
        }

        FileOpener.SyncName(to, "linked durably");
        return true;
    }

    private static void Check(string from, string to)
    {
        FileOpener.CheckName(from);
        FileOpener.CheckName(to);
    }

    private static DiskException Failure(int result, string from, string to, string what) => HostErrors.KindOf(result) == HostErrorKind.Exists
        ? new(ErrorKind.AlreadyExists, $"{to}: exists already and is never overwritten; choose another name or remove it.") { Path = to }
        : HostErrors.OnPath(result, from, $"{what} to {to}");
}
