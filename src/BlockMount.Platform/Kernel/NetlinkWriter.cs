using System.Runtime.InteropServices;
using System.Text;

namespace BlockMount.Platform.Kernel;

/// <summary>
/// Builds one generic netlink request: header, generic header, attributes, all in the host's byte order and padded to four bytes ("Documentation/userspace-api/netlink/intro").
/// </summary>
internal sealed class NetlinkWriter
{
    public const int HeaderSize = 16;
    public const int GenericHeaderSize = 4;
    public const ushort NestedFlag = 0x8000;

    private const ushort RequestFlag = 1;
    private const ushort AcknowledgeFlag = 4;

    private readonly List<byte> _bytes = [];

    /// <param name="family">The family's number.</param>
    /// <param name="command">One of the family's.</param>
    /// <param name="sequence">Comes back in the answer.</param>
    public NetlinkWriter(ushort family, byte command, uint sequence)
    {
        Append(0u);
        Append(family);
        Append((ushort)(RequestFlag | AcknowledgeFlag));
        Append(sequence);
        Append(0u);
        _bytes.AddRange([command, 1, 0, 0]);
    }

    public NetlinkWriter Add(ushort type, uint value) => Add(type, Bytes(value));

    public NetlinkWriter Add(ushort type, ushort value) => Add(type, Bytes(value));

    public NetlinkWriter Add(ushort type, ulong value) => Add(type, Bytes(value));

    /// <summary>With the NUL that the kernel's strings end with.</summary>
    public NetlinkWriter Add(ushort type, string value) => Add(type, Encoding.UTF8.GetBytes(value + '\0'));

    /// <summary>An attribute that holds those which <paramref name="fill"/> adds.</summary>
    public NetlinkWriter AddNested(ushort type, Action<NetlinkWriter> fill)
    {
        var start = _bytes.Count;
        Append((ushort)0);
        Append((ushort)(type | NestedFlag));
        fill(this);
        Patch(start, Bytes(checked((ushort)(_bytes.Count - start))));
        return this;
    }

    /// <summary>The whole message.</summary>
    public byte[] Finish()
    {
        Patch(0, Bytes((uint)_bytes.Count));
        return [.. _bytes];
    }

    private NetlinkWriter Add(ushort type, byte[] value)
    {
        Append(checked((ushort)(4 + value.Length)));
        Append(type);
        _bytes.AddRange(value);
        while (_bytes.Count % 4 != 0)
        {
            _bytes.Add(0);
        }

        return this;
    }

    private void Append(ushort value) => _bytes.AddRange(Bytes(value));

    private void Append(uint value) => _bytes.AddRange(Bytes(value));

    private void Patch(int at, byte[] value)
    {
        for (var i = 0; i < value.Length; i++)
        {
            _bytes[at + i] = value[i];
        }
    }

    private static byte[] Bytes(ushort value) => MemoryMarshal.AsBytes([value]).ToArray();

    private static byte[] Bytes(uint value) => MemoryMarshal.AsBytes([value]).ToArray();

    private static byte[] Bytes(ulong value) => MemoryMarshal.AsBytes([value]).ToArray();
}
