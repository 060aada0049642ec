using System.Runtime.InteropServices;
using BlockMount.Attach.Host;
using BlockMount.Core.Errors;
using BlockMount.Platform.Kernel;

namespace BlockMount.Attach.Kernel;

/// <summary>A disk served by this process as a device of the kernel's nbd driver, attached over its netlink family. Needs root.</summary>
public sealed class NbdDevice
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan BetweenTries = TimeSpan.FromMilliseconds(50);
    private readonly NbdAttachRequest _request;
    private readonly List<Task> _connections = [];
    private volatile bool _isGivenUp;

    private NbdDevice(NbdAttachRequest request, int index)
    {
        _request = request;
        Node = new NbdNode(index);
    }

    /// <summary>The device.</summary>
    public NbdNode Node { get; }

    /// <summary>As <c>/dev/nbd3</c>.</summary>
    public string Device => Node.Path;

    /// <summary>A sentence for each partition that the kernel does not show.</summary>
    public IReadOnlyList<string> Notes { get; private set; } = [];

    /// <summary>Ends when the device was disconnected, or given up, and every connection is closed.</summary>
    public Task Completion => Task.WhenAll(_connections);

    /// <summary>Whether the kernel has the driver, which is loaded if it can be.</summary>
    public static async Task<bool> IsSupportedAsync(CancellationToken cancellationToken = default)
    {
        await LoadDriverAsync(cancellationToken);
        return NbdKernel.IsPresent;
    }

    /// <summary>Attaches, and waits for the device and its partitions.</summary>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.HostLacks"/>: no driver. <see cref="ErrorKind.AccessDenied"/>: not root. <see cref="ErrorKind.Busy"/>: the device asked for is in use. Otherwise
    /// <see cref="ErrorKind.Io"/>. Nothing stays attached then.
    /// </exception>
    public static async Task<NbdDevice> AttachAsync(NbdAttachRequest request, CancellationToken cancellationToken = default)
    {
        await LoadDriverAsync(cancellationToken);
        using var kernel = NbdKernel.Open();
        var (connections, given) = Pairs(request);
        int index;
        try
        {
            index = kernel.Connect(DeviceOf(request, request.Index), given);
        }
        finally
        {
            given.ForEach(static s => s.Dispose());
        }

        var device = new NbdDevice(request, index);
        device._connections.AddRange(connections.Select(device.KeepAsync));
        try
        {
            await device.MakeNodesAsync(cancellationToken);
            return device;
        }
        catch
        {
            kernel.Disconnect(index);
            await device.Node.WaitUntilGoneAsync(CancellationToken.None);
            throw;
        }
    }

    /// <summary>Takes over a device whose host has ended: the requests that wait are sent to this process.</summary>
    /// <param name="request">As it was attached, with its number.</param>
    /// <param name="cancellationToken">Gives up; the device goes on waiting.</param>
    /// <exception cref="DiskException">The device is gone, has another size or shows something else.</exception>
    public static async Task<NbdDevice> ReconnectAsync(NbdAttachRequest request, CancellationToken cancellationToken = default)
    {
        var device = new NbdDevice(request, request.Index ?? throw new ArgumentException("The device has no number.", nameof(request)));
        if (!device.Node.IsAttached || !string.Equals(device.Node.Backend, request.Backend, StringComparison.Ordinal))
        {
            throw new DiskException(ErrorKind.NotFound, $"{device.Device}: it does not show '{request.Backend}' any more.") { Path = device.Device };
        }

        if (device.Node.Size != request.Size)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{device.Device}: it has {device.Node.Size} bytes, and the disk now {request.Size}.") { Path = device.Device };
        }

        for (var deadline = Environment.TickCount64 + (long)Patience.TotalMilliseconds; device._connections.Count < request.Connections;)
        {
            // The kernel takes a socket only for a connection that it knows to be dead, and notices one after another.
            if (device.TryReplace(out var connection))
            {
                device._connections.Add(device.KeepAsync(connection));
            }
            else if (Environment.TickCount64 > deadline)
            {
                throw new DiskException(ErrorKind.Busy, $"{device.Device}: the kernel takes no connection; another process still serves it.") { Path = device.Device };
            }
            else
            {
                await Task.Delay(BetweenTries, cancellationToken);
            }
        }

        return device;
    }

    /// <summary>The node of a partition, as <c>/dev/nbd3p1</c>.</summary>
    public string PartitionNode(int number) => $"{Device}p{number}";

    /// <summary>Takes connections that end from here on for ended: the device is left to the host that comes next.</summary>
    public void GiveUp() => _isGivenUp = true;

    /// <summary>As <see cref="NbdNode.DetachAsync"/>; and when it is gone already, because somebody else has disconnected it, all is well.</summary>
    /// <inheritdoc cref="NbdNode.DetachAsync"/>
    public async Task DetachAsync(bool force, CancellationToken cancellationToken = default)
    {
        try
        {
            await Node.DetachAsync(_request.Backend, force, cancellationToken);
        }
        catch (DiskException e) when (e.Kind == ErrorKind.NotFound && (Completion.IsCompleted || !Node.IsAttached))
        {
            // This very moment, or before.
        }

        await Completion;
    }

    /// <summary>
    /// Replaces a connection that the kernel gave up, as it does when an answer takes too long, as long as the device is there. Several may want to at the same time: it says which are missing.
    /// </summary>
    private async Task KeepAsync(Task connection)
    {
        while (true)
        {
            await connection;
            do
            {
                // A device that is being disconnected closes its connections a moment before it says so.
                await Task.Delay(BetweenTries);
                if (_isGivenUp || !Node.IsAttached || !string.Equals(Node.Backend, _request.Backend, StringComparison.Ordinal))
                {
                    return;
                }
            }
            while (!TryReplace(out connection));
        }
    }

    private bool TryReplace(out Task connection)
    {
        var (ours, theirs) = SocketPair.Create();
        try
        {
            using var kernel = NbdKernel.Open();
            kernel.Reconnect(DeviceOf(_request, Node.Index), theirs);
        }
        catch (DiskException)
        {
            // It is gone, or going.
        }
        finally
        {
            theirs.Dispose();
        }

        if (!SocketPair.IsAbandoned(ours))
        {
            connection = _request.Serve(ours);
            return true;
        }

        ours.Dispose();
        connection = Task.CompletedTask;
        return false;
    }

    private static async Task LoadDriverAsync(CancellationToken cancellationToken)
    {
        if (!NbdKernel.IsPresent && Posix.IsRoot && HostProgram.Find("modprobe") is not null)
        {
            await HostProgram.RunAsync("modprobe", ["--quiet", "nbd"], cancellationToken);
        }
    }

    private static (List<Task> Connections, List<SafeHandle> Given) Pairs(NbdAttachRequest request)
    {
        var (connections, given) = (new List<Task>(), new List<SafeHandle>());
        for (var i = 0; i < request.Connections; i++)
        {
            var (ours, theirs) = SocketPair.Create();
            given.Add(theirs);
            connections.Add(request.Serve(ours));
        }

        return (connections, given);
    }

    private static NbdKernelDevice DeviceOf(NbdAttachRequest request, int? index) => new()
    {
        Index = index,
        Size = request.Size,
        BlockSize = request.BlockSize,
        Flags = request.Flags,
        Timeout = (long)Math.Ceiling(request.Timeout.TotalSeconds),
        ReconnectTime = (long)Math.Ceiling(request.ReconnectTime.TotalSeconds),
        Backend = request.Backend,
    };

    /// <summary>
    /// The kernel reads the table when the device is first opened, through this process. What it does not find, such as a table for sectors of another size, it is told.
    /// </summary>
    private async Task MakeNodesAsync(CancellationToken cancellationToken)
    {
        var device = this;
        if (!await NbdNode.WaitAsync(() => device.Node.Size == device._request.Size && File.Exists(device.Device), cancellationToken))
        {
            throw new DiskException(ErrorKind.HostLacks, $"{Device}: the kernel attached it and no such node has appeared; is devtmpfs mounted on /dev?") { Path = Device };
        }

        await Task.Run(() => KernelPartitions.Scan(Device), cancellationToken);
        if (_request.Partitions is not { } wanted)
        {
            return;
        }

        await NbdNode.SettleAsync(cancellationToken);
        (var shown, Notes) = await Task.Run(() => PartitionNodes.Settle(Device, wanted), cancellationToken);
        if (!await NbdNode.WaitAsync(() => shown.All(p => File.Exists(device.PartitionNode(p.Number))), cancellationToken))
        {
            throw new DiskException(ErrorKind.HostLacks, $"{Device}: the nodes of its partitions have not appeared in /dev.") { Path = Device };
        }
    }
}
