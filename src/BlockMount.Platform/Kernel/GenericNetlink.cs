using System.Runtime.InteropServices;
using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Kernel;

/// <summary>A conversation with one family of the kernel's generic netlink; requests are answered before the next one is sent.</summary>
internal sealed unsafe class GenericNetlink : IDisposable
{
    private const ushort ControlFamily = 16;
    private const byte GetFamily = 3;
    private const ushort FamilyId = 1;
    private const ushort FamilyName = 2;
    private const ushort ErrorMessage = 2;
    private const int LargestAnswer = 64 * 1024;

    private readonly DescriptorHandle _socket;
    private readonly ushort _family;
    private uint _sequence;

    private GenericNetlink(DescriptorHandle socket, string family)
    {
        _socket = socket;
        var (error, answers) = Exchange(new NetlinkWriter(ControlFamily, GetFamily, ++_sequence).Add(FamilyName, family));
        IsKnown = error == 0;
        _family = answers.Select(static a => NetlinkAttributes.Find<ushort>(a, FamilyId)).FirstOrDefault(static id => id is not null) ?? 0;
    }

    /// <summary>Whether the kernel has the family.</summary>
    public bool IsKnown { get; }

    /// <summary>Opens a conversation.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.HostLacks"/>: the kernel has no generic netlink, or does not let this process have it.</exception>
    public static GenericNetlink Open(string family)
    {
        var descriptor = Shim.GenericNetlink();
        if (descriptor < 0)
        {
            throw new DiskException(ErrorKind.HostLacks, $"The kernel's netlink cannot be reached: {HostErrors.TextOf(descriptor)}.");
        }

        var socket = new DescriptorHandle(descriptor);
        try
        {
            return new GenericNetlink(socket, family);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Carries one command out.</summary>
    /// <param name="command">The family's number for it.</param>
    /// <param name="fill">Adds attributes.</param>
    /// <param name="answers">Attributes of what the kernel answered before it acknowledged.</param>
    /// <returns>0, or -errno.</returns>
    public int Request(byte command, Action<NetlinkWriter> fill, out IReadOnlyList<ReadOnlyMemory<byte>> answers)
    {
        var message = new NetlinkWriter(_family, command, ++_sequence);
        fill(message);
        (var error, answers) = Exchange(message);
        return error;
    }

    public void Dispose() => _socket.Dispose();

    private (int Error, IReadOnlyList<ReadOnlyMemory<byte>> Answers) Exchange(NetlinkWriter message)
    {
        var descriptor = _socket.Enter();
        try
        {
            var bytes = message.Finish();
            fixed (byte* data = bytes)
            {
                var sent = Shim.Send(descriptor, data, (ulong)bytes.Length);
                if (sent < 0)
                {
                    return ((int)sent, []);
                }
            }

            var answers = new List<ReadOnlyMemory<byte>>();
            var buffer = new byte[LargestAnswer];
            while (true)
            {
                long length;
                fixed (byte* into = buffer)
                {
                    length = Shim.Receive(descriptor, into, LargestAnswer, 1);
                }

                if (length < 0)
                {
                    return ((int)length, []);
                }

                if (Take(buffer.AsMemory(0, (int)length), answers) is { } error)
                {
                    return (error, answers);
                }
            }
        }
        finally
        {
            _socket.Leave();
        }
    }

    /// <summary>The messages of one datagram; the acknowledgement's errno, null while it is still to come.</summary>
    private int? Take(ReadOnlyMemory<byte> datagram, List<ReadOnlyMemory<byte>> answers)
    {
        while (datagram.Length >= NetlinkWriter.HeaderSize)
        {
            var length = MemoryMarshal.Read<uint>(datagram.Span);
            var type = MemoryMarshal.Read<ushort>(datagram.Span[4..]);
            var sequence = MemoryMarshal.Read<uint>(datagram.Span[8..]);
            if (length < NetlinkWriter.HeaderSize || length > datagram.Length)
            {
                break;
            }

            var body = datagram[NetlinkWriter.HeaderSize..(int)length];
            if (sequence == _sequence && type == ErrorMessage && body.Length >= sizeof(int))
            {
                return MemoryMarshal.Read<int>(body.Span);
            }

            if (sequence == _sequence && body.Length >= NetlinkWriter.GenericHeaderSize)
            {
                answers.Add(body[NetlinkWriter.GenericHeaderSize..].ToArray());
            }

            datagram = datagram[(int)Math.Min(datagram.Length, (length + 3) & ~3u)..];
        }

        return null;
    }
}
