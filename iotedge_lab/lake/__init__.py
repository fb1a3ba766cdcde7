"""The lake: what arrives at the hub's built-in endpoint, kept in Delta tables, and read from there.

Stands for the series' arrow "2 store": a stream job that writes IoT Hub's messages to Delta tables on a data lake, as
Databricks and Fabric read them. A process of its own captures (`python -m iotedge_lab.lake`); reading needs none.

    schema      the tables and their columns
    messages    an event of azure-eventhub, with IoT Hub's names
    sorting     which table a message belongs to, as which row
    tables      writing a batch to all tables, exactly once
    upkeep      small files made into large ones, old ones removed
    endpoint    reading the built-in endpoint, and again after each failure
    engine      from the one to the other: batches by time and size
    status      how far it is; place: its files; process: its life
    reading     pandas, SQL, earlier versions

Imports nothing by itself. Each module needs the extra `lake`; capturing needs deltalake of it alone, and no pandas.
"""
