using System.Runtime.InteropServices;
using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Kernel;

/// <summary>What a device of the kernel's nbd driver is to be.</summary>
public sealed record NbdKernelDevice
{
    /// <summary>Number of the device, as 3 for <c>/dev/nbd3</c>; null takes a free one.</summary>
    public int? Index { get; init; }

    /// <summary>Bytes, a multiple of <see cref="BlockSize"/>.</summary>
    public required long Size { get; init; }

    /// <summary>Bytes of a logical sector: a power of two, 512 to the page size.</summary>
    public required int BlockSize { get; init; }

    /// <summary>Transmission flags as in the NBD handshake.</summary>
    public required ushort Flags { get; init; }

    /// <summary>Seconds after which a request that is not answered costs its connection; 0 leaves it to the kernel, which takes 30 with several connections and never with one.</summary>
    public required long Timeout { get; init; }

    /// <summary>Seconds that requests wait for new connections when all are gone, before they fail.</summary>
    public required long ReconnectTime { get; init; }

    /// <summary>What the device shows, for <c>/sys/block/nbdN/backend</c>; the kernel asks for the same text again when connections are exchanged.</summary>
    public required string Backend { get; init; }
}

/// <summary>The commands of the kernel's nbd driver (<c>include/uapi/linux/nbd-netlink.h</c>).</summary>
public sealed class NbdKernel : IDisposable
{
    private const string Family = "nbd";
    private const byte ConnectCommand = 1;
    private const byte DisconnectCommand = 2;
    private const byte ReconfigureCommand = 3;
    private const ushort IndexAttribute = 1;
    private const ushort SizeAttribute = 2;
    private const ushort BlockSizeAttribute = 3;
    private const ushort TimeoutAttribute = 4;
    private const ushort FlagsAttribute = 5;
    private const ushort SocketsAttribute = 7;
    private const ushort SocketItem = 1;
    private const ushort SocketDescriptor = 1;
    private const ushort ReconnectTimeAttribute = 8;
    private const ushort BackendAttribute = 10;

    private readonly GenericNetlink _netlink;

    private NbdKernel(GenericNetlink netlink) => _netlink = netlink;

    /// <summary>Whether the driver is there now; it may still be a module that nobody has loaded.</summary>
    public static bool IsPresent
    {
        get
        {
            try
            {
                using var netlink = GenericNetlink.Open(Family);
                return netlink.IsKnown;
            }
            catch (DiskException)
            {
                return false;
            }
        }
    }

    /// <summary>Opens a conversation with the driver.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.HostLacks"/>: the kernel has no such driver.</exception>
    public static NbdKernel Open()
    {
        var netlink = GenericNetlink.Open(Family);
        if (netlink.IsKnown)
        {
            return new NbdKernel(netlink);
        }

        netlink.Dispose();
        throw new DiskException(ErrorKind.HostLacks, "The kernel has no nbd driver, or its module is not loaded: modprobe nbd.");
    }

    /// <summary>Makes a device. The kernel keeps the sockets; the caller may close its own descriptors of them.</summary>
    /// <param name="device">What it is to be.</param>
    /// <param name="sockets">At least one connected stream socket, the other end of which is served already or will be at once.</param>
    /// <returns>The device's number.</returns>
    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.AccessDenied"/>: not root. <see cref="ErrorKind.Busy"/>: the device asked for is in use. <see cref="ErrorKind.NotFound"/>: there is none of that
    /// number and none can be made. <see cref="ErrorKind.Io"/> with the kernel's reason.
    /// </exception>
    public int Connect(NbdKernelDevice device, IReadOnlyList<SafeHandle> sockets)
    {
        var error = WithDescriptors(
            sockets,
            descriptors =>
            {
                var result = _netlink.Request(ConnectCommand, m => Fill(m, device, descriptors), out var answers);
                return result < 0 ? result : answers.Select(static a => NetlinkAttributes.Find<uint>(a, IndexAttribute)).FirstOrDefault(static i => i is not null) is { } index
                    ? (int)index
                    : device.Index ?? -1;
            });
        return error >= 0 ? error : throw Refused(error, device.Index, "cannot be attached");

        static void Fill(NetlinkWriter message, NbdKernelDevice device, IReadOnlyList<int> descriptors)
        {
            if (device.Index is { } index)
            {
                message.Add(IndexAttribute, (uint)index);
            }

            message.Add(SizeAttribute, (ulong)device.Size).Add(BlockSizeAttribute, (ulong)device.BlockSize).Add(FlagsAttribute, (ulong)device.Flags);
            FillLimits(message, device);
            FillSockets(message, descriptors);
        }
    }

    /// <summary>Gives a device that lost connections a new one for one of them.</summary>
    /// <param name="device">As it was connected, with its number.</param>
    /// <param name="socket">A connected stream socket. The kernel leaves it alone, and says nothing, when no connection is missing.</param>
    /// <exception cref="DiskException">The device is gone, or another one has its number.</exception>
    public void Reconnect(NbdKernelDevice device, SafeHandle socket)
    {
        var index = device.Index ?? throw new ArgumentException("The device has no number.", nameof(device));
        var error = WithDescriptors(
            [socket],
            descriptors => _netlink.Request(
                ReconfigureCommand,
                m =>
                {
                    m.Add(IndexAttribute, (uint)index);
                    FillLimits(m, device);
                    FillSockets(m, descriptors);
                },
                out _));
        if (error < 0)
        {
            throw Refused(error, index, "cannot take new connections");
        }
    }

    /// <summary>Ends a device; requests under way fail. It is free again some time after this returns.</summary>
    /// <exception cref="DiskException">It is not attached, or this user may not.</exception>
    public void Disconnect(int index)
    {
        var error = _netlink.Request(DisconnectCommand, m => m.Add(IndexAttribute, (uint)index), out _);
        if (error < 0)
        {
            throw Refused(error, index, "cannot be detached");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _netlink.Dispose();

    private static void FillLimits(NetlinkWriter message, NbdKernelDevice device) => message
        .Add(TimeoutAttribute, (ulong)device.Timeout).Add(ReconnectTimeAttribute, (ulong)device.ReconnectTime).Add(BackendAttribute, device.Backend);

    private static void FillSockets(NetlinkWriter message, IReadOnlyList<int> descriptors) => message.AddNested(
        SocketsAttribute,
        all =>
        {
            foreach (var descriptor in descriptors)
            {
                all.AddNested(SocketItem, one => one.Add(SocketDescriptor, (uint)descriptor));
            }
        });

    /// <summary>The numbers stay those of the sockets until the kernel has taken its own references.</summary>
    private static int WithDescriptors(IReadOnlyList<SafeHandle> sockets, Func<IReadOnlyList<int>, int> use)
    {
        var held = new List<SafeHandle>();
        try
        {
            foreach (var socket in sockets)
            {
                var added = false;
                socket.DangerousAddRef(ref added);
                held.Add(socket);
            }

            return use([.. held.Select(static s => (int)s.DangerousGetHandle())]);
        }
        finally
        {
            held.ForEach(static s => s.DangerousRelease());
        }
    }

    private static DiskException Refused(int error, int? index, string what)
    {
        var device = index is { } number ? $"/dev/nbd{number}" : "A /dev/nbd device";
        var (kind, reason) = HostErrors.KindOf(error) switch
        {
            HostErrorKind.Access => (ErrorKind.AccessDenied, "only root may (CAP_SYS_ADMIN)"),
            HostErrorKind.Busy => (ErrorKind.Busy, "it is in use; leave the number out to take a free one"),
            HostErrorKind.NotFound => (ErrorKind.NotFound, "the kernel has none of that number"),
            _ => (ErrorKind.Io, HostErrors.TextOf(error)),
        };
        return new DiskException(kind, $"{device} {what}: {reason}.") { Path = index is null ? null : device };
    }
}
