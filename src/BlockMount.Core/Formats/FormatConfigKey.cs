namespace BlockMount.Core.Formats;

/// <summary>What the value of a <see cref="FormatConfigKey"/> is.</summary>
public enum ConfigValueKind
{
    /// <summary>A whole number.</summary>
    Integer,

    /// <summary>No or yes, which VirtualBox writes as 0 and 1.</summary>
    Flag,

    Text,

    Bytes,
}

/// <summary>Something that VirtualBox is told about an image by a key, and callers of this program by a property.</summary>
/// <param name="Name">As VirtualBox calls it.</param>
/// <param name="Kind">What its value is.</param>
/// <param name="Owner">The type whose property it is here.</param>
/// <param name="Property">That property's name.</param>
/// <param name="Description">One sentence for users.</param>
public sealed record FormatConfigKey(string Name, ConfigValueKind Kind, Type Owner, string Property, string Description)
{
    /// <summary>The allocation unit, of formats that let it be chosen.</summary>
    internal static FormatConfigKey BlockSize(string description) =>
        new("AllocationBlockSize", ConfigValueKind.Integer, typeof(ImageCreateOptions), nameof(ImageCreateOptions.BlockSize), description);
}
