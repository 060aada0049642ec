namespace BlockMount.Core.Formats;

/// <summary>What a format can do: the VD_CAP_ bits of VirtualBox's container API, with its values.</summary>
[Flags]
public enum FormatCapabilities
{
    None = 0,

    /// <summary>Its images have UUIDs, by which a child finds them.</summary>
    Uuid = 1 << 0,

    /// <summary>Makes images whose whole space is there from the beginning.</summary>
    CreateFixed = 1 << 1,

    /// <summary>Makes images that take space as they are written to.</summary>
    CreateDynamic = 1 << 2,

    /// <summary>Makes images in pieces of less than 2 GiB.</summary>
    CreateSplit2g = 1 << 3,

    /// <summary>Its images can have a parent.</summary>
    Differencing = 1 << 4,

    /// <summary>Reads, writes and flushes need not wait on the caller's thread.</summary>
    Async = 1 << 5,

    /// <summary>Its images are files.</summary>
    File = 1 << 6,

    /// <summary>It has <see cref="ImageFormat.ConfigKeys"/>.</summary>
    Config = 1 << 7,

    /// <summary>Its images are reached over a network.</summary>
    TcpNet = 1 << 8,
}
