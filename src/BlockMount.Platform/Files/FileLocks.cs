using BlockMount.Core.Errors;
using BlockMount.Core.Storage;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Files;

/// <summary>
/// Open file description locks (rule D5). A writer locks the whole file. A reader locks the bytes that qemu uses, so that both
/// programs see each other: byte 100+n says "I use permission n", byte 200+n "I do not share it" (qemu, block/file-posix.c).
/// </summary>
internal static class FileLocks
{
    private const long UsesRead = 100;
    private const long UsesWrite = 101;
    private const long UsesResize = 103;
    private const long DeniesRead = 200;
    private const long DeniesWrite = 201;
    private const long DeniesResize = 203;

    private static readonly long[] s_set = [UsesRead, DeniesWrite, DeniesResize];
    private static readonly long[] s_free = [UsesWrite, UsesResize, DeniesRead];

    /// <summary>Locks the file; <see langword="false"/> when somebody else's lock is in the way.</summary>
    /// <param name="handle">Keeps the locks until it is closed.</param>
    /// <param name="path">For errors.</param>
    /// <param name="access">What it was opened for.</param>
    /// <exception cref="DiskException">The file system cannot lock.</exception>
    public static bool TryTake(DescriptorHandle handle, string path, StoreAccess access)
    {
        var descriptor = handle.Enter();
        try
        {
            var taken = access switch
            {
                StoreAccess.Write => TryLock(descriptor, path, LockKind.Write, 0, 0),
                StoreAccess.Read => TryShare(descriptor, path),
                _ => true,
            };
            if (!taken)
            {
                // A reader may have set some of its own, which would make it look like the one in the way.
                _ = Shim.Lock(descriptor, LockKind.None, 0, 0);
            }

            return taken;
        }
        finally
        {
            handle.Leave();
        }
    }

    private static bool TryShare(int descriptor, string path)
    {
        foreach (var at in s_set)
        {
            if (!TryLock(descriptor, path, LockKind.Read, at, 1))
            {
                return false;
            }
        }

        // Only after setting ours: of two programs that set and then test, at least one sees the other.
        foreach (var at in s_free)
        {
            var held = Shim.TestLock(descriptor, LockKind.Write, at, 1);
            if (held != 0)
            {
                return held < 0 ? throw HostErrors.OnPath(held, path, "locked") : false;
            }
        }

        return true;
    }

    private static bool TryLock(int descriptor, string path, LockKind kind, long start, long length)
    {
        var result = Shim.Lock(descriptor, kind, start, length);
        return result >= 0
            || (HostErrors.KindOf(result) == HostErrorKind.WouldBlock ? false : throw HostErrors.OnPath(result, path, "locked"));
    }
}
