using System.Globalization;
using System.Xml;
using BlockMount.Core.Errors;
using static BlockMount.Core.Machines.VBoxElements;

namespace BlockMount.Core.Machines;

/// <summary>
/// One pass over the XML with a stack of the elements that matter, so that nesting in the file is not nesting of calls. Element
/// names count in any namespace: VirtualBox has used two.
/// </summary>
internal sealed class VBoxMachineParser(string text, string path)
{
    /// <summary>VirtualBox allows 250 nested snapshots, two elements each, and 300 nested disks.</summary>
    private const int MaximumDepth = 1024;

    private readonly string _path = Path.GetFullPath(path);
    private readonly Stack<VBoxFrame> _frames = new();
    private readonly Dictionary<Guid, VBoxDisk> _disks = [];
    private readonly List<VBoxDisk> _diskOrder = [];
    private readonly List<VBoxSlots> _snapshots = [];
    private readonly VBoxSlots _machine = new();
    private bool _isVirtualBox;
    private bool _hasMachine;
    private string _version = "";

    public VBoxMachineFile Parse()
    {
        if (text.Length > VBoxMachineFile.MaximumSize)
        {
            throw DiskErrors.NotThisFormat(_path, $"it has {text.Length} characters, a VirtualBox machine file has at most {VBoxMachineFile.MaximumSize}.");
        }

        ReadAll();
        if (!_hasMachine)
        {
            throw DiskErrors.NotThisFormat(_path, "it has no Machine element, so it is not a VirtualBox machine file.");
        }

        return new VBoxMachineFile(_path, _diskOrder)
        {
            Name = _machine.Name,
            Uuid = _machine.Uuid,
            SettingsVersion = _version,
            Attachments = Attachments(_machine),
            Snapshots = [.. _snapshots.Select(slots => new VBoxSnapshot(slots.Uuid!.Value, slots.Name, slots.ParentUuid, Attachments(slots)))],
        };
    }

    private VBoxAttachment[] Attachments(VBoxSlots slots) =>
        [.. slots.Attached.Select(slot => new VBoxAttachment(slot.Uuid, slot.Controller, slot.Port, slot.Device, _disks.GetValueOrDefault(slot.Uuid)))];

    private void ReadAll()
    {
        var settings = new XmlReaderSettings
        {
            DtdProcessing = DtdProcessing.Prohibit,
            XmlResolver = null,
            IgnoreComments = true,
            IgnoreProcessingInstructions = true,
            IgnoreWhitespace = true,
        };
        using var characters = new StringReader(text);
        using var xml = XmlReader.Create(characters, settings);
        try
        {
            while (xml.Read())
            {
                if (xml.NodeType == XmlNodeType.Element)
                {
                    Enter(xml);
                }
                else if (xml.NodeType == XmlNodeType.EndElement)
                {
                    _frames.Pop();
                }
            }
        }
        catch (XmlException e)
        {
            throw new DiskException(
                _isVirtualBox ? ErrorKind.CorruptImage : ErrorKind.NotThisFormat,
                $"{_path}: line {e.LineNumber} is not the XML of a VirtualBox machine file: {ShownText.Short(e.Message.TrimEnd('.'))}.", e) { Path = _path };
        }
    }

    private void Enter(XmlReader xml)
    {
        if (xml.Depth > MaximumDepth)
        {
            throw Corrupt(xml, $"elements are nested deeper than {MaximumDepth}");
        }

        var parent = _frames.TryPeek(out var top) ? top : null;
        var isEmpty = xml.IsEmptyElement;
        var frame = parent is null ? EnterRoot(xml) : EnterInside(xml, parent);
        if (!isEmpty)
        {
            _frames.Push(frame);
        }
    }

    private VBoxFrame EnterRoot(XmlReader xml)
    {
        if (xml.LocalName is not VirtualBox)
        {
            throw DiskErrors.NotThisFormat(_path, $"its outermost element is {ShownText.Short(xml.LocalName)}, not {VirtualBox}, so it is not a VirtualBox machine file.");
        }

        _isVirtualBox = true;
        _version = xml.GetAttribute("version") ?? "";
        return new VBoxFrame(VirtualBox);
    }

    private VBoxFrame EnterInside(XmlReader xml, VBoxFrame parent)
    {
        var frame = parent with { Element = xml.LocalName };
        switch (xml.LocalName)
        {
            case Global when parent.Element is VirtualBox:
                throw DiskErrors.NotThisFormat(_path, "it holds VirtualBox's global settings, not a machine; name the machine's .vbox file.");
            case MachineEncrypted when parent.Element is VirtualBox:
                throw DiskErrors.Unsupported(_path, "the machine is encrypted, so its disks cannot be listed; name an image instead.");
            case Machine when parent.Element is VirtualBox:
                if (_hasMachine)
                {
                    throw Corrupt(xml, "there is a second Machine element");
                }

                _hasMachine = true;
                _machine.Name = xml.GetAttribute("name") ?? "";
                _machine.Uuid = OptionalUuid(xml, "uuid");
                return frame with { Slots = _machine };
            case MediaRegistry or HardDisks:
                return frame with { InRegistry = true };
            case HardDisk when parent.InRegistry:
                return frame with { Disk = AddDisk(xml, parent.Disk) };
            case Snapshot when parent.Slots is not null:
                return frame with { Slots = AddSnapshot(xml, parent.Slots) };
            case StorageController:
                return frame with { Controller = xml.GetAttribute("name") ?? "" };
            case AttachedDevice when xml.GetAttribute("type") is HardDisk:
                return frame with { Port = Number(xml, "port"), Device = Number(xml, "device"), IsHardDisk = true };
            case Image when parent is { Element: AttachedDevice, IsHardDisk: true, Slots: not null }:
                parent.Slots.Attached.Add(new VBoxSlot(RequiredUuid(xml, "uuid"), parent.Controller, parent.Port, parent.Device));
                return frame;
            case HardDiskAttachment when parent.Slots is not null:
                parent.Slots.Attached.Add(new VBoxSlot(
                    RequiredUuid(xml, "hardDisk"), xml.GetAttribute("bus") ?? "IDE", Number(xml, "channel"), Number(xml, "device")));
                return frame;
            default:
                return frame;
        }
    }

    private VBoxDisk AddDisk(XmlReader xml, VBoxDisk? parent)
    {
        var location = xml.GetAttribute("location");
        if (string.IsNullOrEmpty(location))
        {
            throw Corrupt(xml, "a HardDisk element has no location");
        }

        var format = xml.GetAttribute("format") ?? "";
        var isFile = !format.Equals(IscsiFormat, StringComparison.OrdinalIgnoreCase);
        var disk = new VBoxDisk
        {
            Uuid = RequiredUuid(xml, "uuid"),
            ParentUuid = parent?.Uuid,
            Location = location,
            FilePath = isFile ? VBoxLocation.Resolve(location, Path.GetDirectoryName(_path) ?? _path) : null,
            FileName = isFile ? VBoxLocation.FileNameOf(location) : "",
            Format = format,
            Type = xml.GetAttribute("type") ?? "",
        };
        if (!_disks.TryAdd(disk.Uuid, disk))
        {
            throw Corrupt(xml, $"the disk {disk.Uuid:B} is registered twice");
        }

        _diskOrder.Add(disk);
        return disk;
    }

    private VBoxSlots AddSnapshot(XmlReader xml, VBoxSlots parent)
    {
        var snapshot = new VBoxSlots
        {
            Uuid = RequiredUuid(xml, "uuid"),
            Name = xml.GetAttribute("name") ?? "",
            ParentUuid = parent == _machine ? null : parent.Uuid,
        };
        _snapshots.Add(snapshot);
        return snapshot;
    }

    private Guid? OptionalUuid(XmlReader xml, string attribute) => xml.GetAttribute(attribute) is null ? null : RequiredUuid(xml, attribute);

    private Guid RequiredUuid(XmlReader xml, string attribute)
    {
        var value = xml.GetAttribute(attribute);
        return Guid.TryParseExact(value, "B", out var uuid) || Guid.TryParseExact(value, "D", out uuid)
            ? uuid
            : throw Corrupt(xml, value is null ? $"a {xml.LocalName} element has no {attribute}" : $"{attribute} of a {xml.LocalName} element is \"{ShownText.Short(value)}\", not a UUID");
    }

    private int Number(XmlReader xml, string attribute)
    {
        var value = xml.GetAttribute(attribute) ?? "0";
        return int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw Corrupt(xml, $"{attribute} of a {xml.LocalName} element is \"{ShownText.Short(value)}\", not a number from 0");
    }

    private DiskException Corrupt(XmlReader xml, string problem) =>
        DiskErrors.Corrupt(_path, $"line {(xml as IXmlLineInfo)?.LineNumber ?? 0}: {problem}.");
}
