"""The lab's storage account: blobs, served in a process of their own to the unmodified azure-storage-blob.

Stands for an Azure Storage account, as far as devices' file uploads and the way of a model to the edge need one: block
blobs in containers. Clients reach it with `lab.storage_connection_string`; the hub signs the URLs that devices get.

    wire/storage     signatures: Shared Key and shared access signatures, bytes in and out
    serve/storage    the folder, the keys, who serves
    store            SQLite: containers, blobs, blocks
    contents         the bytes: a file for each block, written once and never changed
    catalogue        blobs and their blocks, put together from the two
    access           who may do what
    http_*           the REST API onto them

**Azurite weighed.** Microsoft's emulator is well kept and does more than this (snapshots, leases, page blobs,
queues, tables). It is a Node program: it would bring Node into every installation, and its account has a key that
everybody knows unless it is told another. So it is an option and not the default: start it with a certificate that
the devices trust (`azurite-blob --cert ... --key ...`) and give its connection string to the hub
(`lab.configure_file_upload`), as one would give that of a real account.

**HTTPS.** Devices put `https://` before what the hub tells them (the samples of the device SDKs do), so plain HTTP
would break unmodified programs. The certificate is of the lab's authority, which `lab.env()` has SDKs trust.

**Durable.** What is acknowledged is on the disk: content is written to a file of its own and flushed, then one
transaction makes it visible. What a crash leaves between the two is removed when the server starts. A full disk is
503 ServerBusy, which SDKs try again, with a message that says so.

Left out, and answered with 501 NotImplemented: append and page blobs, snapshots and versions, leases, tags, a later
change of the tier, copies from elsewhere, batches, immutability, encryption keys of the customer's, static websites.
Microsoft Entra ID is not known (403). Access without a key or signature is never allowed (401).
"""
