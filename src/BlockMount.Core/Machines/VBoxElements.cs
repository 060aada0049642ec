namespace BlockMount.Core.Machines;

/// <summary>Names in a machine file (VirtualBox settings 1.3 to 1.20; the XML schema ships with VirtualBox).</summary>
internal static class VBoxElements
{
    public const string VirtualBox = "VirtualBox";
    public const string Machine = "Machine";
    public const string MachineEncrypted = "MachineEncrypted";
    public const string Global = "Global";
    public const string HardDisks = "HardDisks";
    public const string HardDisk = "HardDisk";
    public const string MediaRegistry = "MediaRegistry";
    public const string Snapshot = "Snapshot";
    public const string StorageController = "StorageController";
    public const string AttachedDevice = "AttachedDevice";
    public const string Image = "Image";

    /// <summary>Settings 1.3 to 1.6, before storage controllers had elements.</summary>
    public const string HardDiskAttachment = "HardDiskAttachment";

    public const string IscsiFormat = "iSCSI";
}
