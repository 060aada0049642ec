using System.Runtime.InteropServices;
using System.Text;
using BlockMount.Core.Errors;
using Microsoft.Extensions.Logging;

namespace BlockMount.Attach.Fuse;

/// <summary>One libfuse session: its threads, its buffers and the requests under way.</summary>
internal sealed unsafe class FuseSession : IDisposable
{
    /// <summary>Requests that may wait for a device at a time; more stay in the kernel's queue.</summary>
    private const int MostPending = 64;
    private const int MostKeptBuffers = 16;

    private readonly SemaphoreSlim _room = new(MostPending);
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private FuseLowLevelOps* _operations;
    private int _pending = 1;

    private FuseSession(FuseLibrary library, string directory, FuseTree tree, ILogger logger)
    {
        Library = library;
        Directory = directory;
        Tree = tree;
        Logger = logger;
    }

    public FuseLibrary Library { get; }

    public string Directory { get; }

    public FuseTree Tree { get; }

    public ILogger Logger { get; }

    public nint Handle { get; private set; }

    public BufferPool ReceiveBuffers { get; } = new(MostKeptBuffers);

    public BufferPool ReplyBuffers { get; } = new(MostKeptBuffers);

    /// <summary>Mounts; requests wait until <see cref="Run"/>.</summary>
    /// <param name="library">The loaded library.</param>
    /// <param name="directory">Full path.</param>
    /// <param name="tree">What to show.</param>
    /// <param name="mountOptions">As after <c>-o</c>, separated by commas.</param>
    /// <param name="logger">Gets failures.</param>
    /// <exception cref="DiskException">The kernel or fusermount3 refused.</exception>
    public static FuseSession Mount(FuseLibrary library, string directory, FuseTree tree, string mountOptions, ILogger logger)
    {
        var session = new FuseSession(library, directory, tree, logger);
        try
        {
            session.Create(mountOptions);
            var path = Encoding.UTF8.GetBytes(directory + '\0');
            fixed (byte* pointer = path)
            {
                if (library.SessionMount(session.Handle, pointer) != 0)
                {
                    throw new DiskException(ErrorKind.Io, $"{directory}: cannot be mounted on ({FuseLog.Take() ?? "fusermount3 printed why"}).") { Path = directory };
                }
            }
        }
        catch
        {
            session.Dispose();
            throw;
        }

        return session;
    }

    /// <summary>Serves requests until the file system is unmounted and every request has been answered.</summary>
    public void Run(int threads)
    {
        var workers = Enumerable.Range(0, threads).Select(number => new Thread(new FuseWorker(this).Run) { IsBackground = true, Name = $"fuse {number}" }).ToList();
        workers.ForEach(worker => worker.Start());
        workers.ForEach(worker => worker.Join());
        EndPending();
        _drained.Task.Wait();
    }

    /// <summary>Ends the session after <see cref="Run"/>, or instead of it.</summary>
    public void Dispose()
    {
        if (Handle != 0)
        {
            Library.SessionUnmount(Handle);
            Library.SessionDestroy(Handle);
            Handle = 0;
        }

        NativeMemory.Free(_operations);
        _operations = null;
        ReceiveBuffers.Close();
        ReplyBuffers.Close();
        _room.Dispose();
    }

    public void BeginPending() => Interlocked.Increment(ref _pending);

    public void EndPending()
    {
        // Released first: after the last decrement the session may be gone.
        _room.Release();
        if (Interlocked.Decrement(ref _pending) == 0)
        {
            _drained.SetResult();
        }
    }

    /// <summary>Takes the place of a request that went pending; blocks while too many are.</summary>
    public void WaitForRoom() => _room.Wait();

    private void Create(string mountOptions)
    {
        _operations = (FuseLowLevelOps*)NativeMemory.AllocZeroed((nuint)sizeof(FuseLowLevelOps));
        FuseCallbacks.Fill(_operations);

        // Pointers to UTF-8 literals are stable; the options are pinned for the call, after which libfuse holds copies.
        var options = Encoding.UTF8.GetBytes(mountOptions + '\0');
        fixed (byte* program = "blockmount\0"u8, dashO = "-o\0"u8, list = options)
        {
            var argv = stackalloc byte*[4] { program, dashO, list, null };
            var arguments = new FuseArgs { argc = 3, argv = argv };
            Handle = Library.SessionNew(&arguments, _operations, (nuint)sizeof(FuseLowLevelOps), 0);

            // libfuse replaced argv by memory of its own, which is the caller's to free.
            Library.OptFreeArgs(&arguments);
        }

        if (Handle == 0)
        {
            throw new DiskException(ErrorKind.HostLacks, $"{Directory}: libfuse made no session ({FuseLog.Take() ?? "it does not say why"}).");
        }
    }
}
