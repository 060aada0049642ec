using System.Globalization;

namespace BlockMount.Core.Machines;

/// <summary>A hard disk in a slot of a machine or of a snapshot of it.</summary>
/// <param name="Uuid">Image, as attached: the newest of its chain.</param>
/// <param name="Controller">Name of the storage controller, such as "SATA".</param>
/// <param name="Port">Port on it, from 0.</param>
/// <param name="Device">Device on the port, 0 or 1.</param>
/// <param name="Disk">The registered image; null when the file does not register it, as files before VirtualBox 4.0 do not.</param>
public sealed record VBoxAttachment(Guid Uuid, string Controller, int Port, int Device, VBoxDisk? Disk)
{
    /// <summary><c>controller:port:device</c>, as <see cref="VBoxMachineFile.SelectDisk"/> accepts it.</summary>
    public string Slot => string.Create(CultureInfo.InvariantCulture, $"{Controller}:{Port}:{Device}");
}

/// <summary>A snapshot of a machine.</summary>
/// <param name="Uuid">Its identifier.</param>
/// <param name="Name">Its name, empty when the file does not say.</param>
/// <param name="ParentUuid">The snapshot before it, null for the first.</param>
/// <param name="Attachments">The hard disks of the machine at that time.</param>
public sealed record VBoxSnapshot(Guid Uuid, string Name, Guid? ParentUuid, IReadOnlyList<VBoxAttachment> Attachments);
