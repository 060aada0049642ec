namespace BlockMount.Core.Machines;

/// <summary>What an open XML element means for those inside it.</summary>
/// <param name="Element">Its name.</param>
internal sealed record VBoxFrame(string Element)
{
    /// <summary>Inside the list of registered disks.</summary>
    public bool InRegistry { get; init; }

    /// <summary>The registered disk around, whose children descend from it.</summary>
    public VBoxDisk? Disk { get; init; }

    /// <summary>The machine, or the innermost snapshot.</summary>
    public VBoxSlots? Slots { get; init; }

    public string Controller { get; init; } = "";

    public int Port { get; init; }

    public int Device { get; init; }

    public bool IsHardDisk { get; init; }
}

/// <summary>The disks of the machine or of one snapshot while the file is read.</summary>
internal sealed class VBoxSlots
{
    public Guid? Uuid { get; set; }

    public string Name { get; set; } = "";

    public Guid? ParentUuid { get; init; }

    public List<VBoxSlot> Attached { get; } = [];
}

/// <summary>An image in a slot, before the registry is known to the end.</summary>
internal readonly record struct VBoxSlot(Guid Uuid, string Controller, int Port, int Device);
