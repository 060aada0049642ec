using System.Numerics;
using System.Text;
using BlockMount.Core.Devices;
using BlockMount.Nbd.Statistics;
using static BlockMount.Nbd.NbdConstants;

namespace BlockMount.Nbd;

/// <summary>A device under a name that clients can ask for. The export does not own the device.</summary>
public sealed class NbdExport
{
    private readonly string _description = "";
    private volatile bool _isWriteProtected;

    /// <param name="name">UTF-8 length 0 to 4096 bytes, without NUL; compared byte for byte.</param>
    /// <param name="device">Outlives every connection to the export.</param>
    /// <exception cref="ArgumentException">The name cannot be said in the protocol.</exception>
    public NbdExport(string name, BlockDevice device)
    {
        CheckString(name, nameof(name));
        Name = name;
        Device = device;
    }

    public string Name { get; }

    public BlockDevice Device { get; }

    /// <summary>Free text for humans; UTF-8 length 0 to 4096 bytes, without NUL.</summary>
    public string Description
    {
        get => _description;
        init
        {
            CheckString(value, nameof(value));
            _description = value;
        }
    }

    /// <summary>
    /// Whether changes are refused with EPERM although the device would take them; clients that connect are told so. Requests that were taken before
    /// may still be under way: it is for the owner of the device to refuse or await those.
    /// </summary>
    public bool IsWriteProtected
    {
        get => _isWriteProtected;
        set => _isWriteProtected = value;
    }

    /// <summary>Whether changes are refused, by the device or before they reach it.</summary>
    public bool IsReadOnly => _isWriteProtected || Device.IsReadOnly;

    /// <summary>Whether discards reach the device. When false, TRIM is neither advertised nor accepted.</summary>
    public bool Trim { get; init; }

    /// <summary>Whether the <c>qemu:allocation-depth</c> context is offered.</summary>
    public bool AllocationDepth { get; init; }

    /// <summary>Bytes a client can reach: the device's length down to a multiple of its alignment.</summary>
    public long Size => Device.Length & ~((long)Device.Alignment - 1);

    /// <summary>Refuses writes after an error nobody foresaw; the same one for every export over the same bytes.</summary>
    public WriteLatch Latch { get; init; } = new();

    /// <summary>The sentence with which writes and flushes are refused after an error nobody foresaw; null while all is well.</summary>
    public string? WriteRefusal => Latch.Refusal;

    /// <summary>What clients asked that have left; the server's lock guards it.</summary>
    internal NbdTraffic Past { get; } = new();

    /// <summary>The contexts a client may select.</summary>
    public NbdMetaContexts Contexts => NbdMetaContexts.BaseAllocation | (AllocationDepth ? NbdMetaContexts.AllocationDepth : 0);

    /// <summary>Smallest multiple of offsets and lengths, in bytes: a power of two, 1 to 65536.</summary>
    public uint MinimumBlockSize => (uint)Device.LogicalSectorSize;

    /// <summary>Request size that costs least, in bytes: a power of two, at least 512 and the minimum, at most 32 MiB.</summary>
    public uint PreferredBlockSize => Math.Min(
        BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(Device.PreferredSize, Math.Max(512, Device.Alignment), MaxPayload)), MaxPayload);

    /// <summary>The transmission flags as they go over the wire.</summary>
    /// <param name="style">How replies are framed (for a kernel always <see cref="NbdReplyStyle.Simple"/>).</param>
    /// <param name="contexts">The contexts selected.</param>
    /// <param name="multiConnection">Several connections may be open at the same time.</param>
    public ushort TransmissionFlags(NbdReplyStyle style, NbdMetaContexts contexts = NbdMetaContexts.None, bool multiConnection = true)
    {
        var flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;
        var isReadOnly = IsReadOnly;
        flags |= isReadOnly ? NBD_FLAG_READ_ONLY : NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
        flags |= Device.IsRotational ? NBD_FLAG_ROTATIONAL : 0;
        flags |= Trim && !isReadOnly ? NBD_FLAG_SEND_TRIM : 0;
        flags |= style != NbdReplyStyle.Simple ? NBD_FLAG_SEND_DF : 0;
        flags |= style == NbdReplyStyle.Extended && contexts != NbdMetaContexts.None ? NBD_FLAG_BLOCK_STATUS_PAYLOAD : 0;
        flags |= multiConnection ? NBD_FLAG_CAN_MULTI_CONN : 0;
        return (ushort)flags;
    }

    /// <summary>Refuses every later write and flush on every connection: what is on disk is no longer known to be right.</summary>
    internal void RefuseWrites(Exception cause) => Latch.Close(Device.Name, cause);

    private static void CheckString(string value, string parameter)
    {
        if (value.Contains('\0', StringComparison.Ordinal) || Encoding.UTF8.GetByteCount(value) > MaxStringLength)
        {
            throw new ArgumentException($"An NBD string has at most {MaxStringLength} bytes of UTF-8 and no NUL.", parameter);
        }
    }
}
