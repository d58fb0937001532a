"""Records of FreeSWITCH's modules, reduced to a few of several hundred variables."""

JSON = (
    b'{"core-uuid":"2f4f2f2a-2b29-4c9a-a1ff-6c6b7a1f5d11","switchname":"pbx","channel_data":{"state":"CS_REPORTING",'
    b'"direction":"inbound"},"variables":{"direction":"inbound","uuid":"9f1c1b2e-8f6b-4c57-9d4b-3d3c7b2b7a10",'
    b'"sip_from_user":"1000","sip_to_user":"2000","sip_call_id":"84b1f0aa%40198.51.100.7","start_epoch":"1738331058",'
    b'"answer_epoch":"1738331060","end_epoch":"1738331100","caller_id":"%22Ann%22%20%3C1000%3E","duration":"42",'
    b'"billsec":"40","hangup_cause":"NORMAL_CLEARING"},"callflow":[{"dialplan":"XML","profile_index":"1",'
    b'"caller_profile":{"username":"1000","caller_id_number":"%2B15551230001","destination_number":"%2B15551230002"}}]}'
)
XML = (
    b'<?xml version="1.0"?>\n<cdr core-uuid="2f4f2f2a-2b29-4c9a-a1ff-6c6b7a1f5d11" switchname="pbx"><channel_data>'
    b"<state>CS_REPORTING</state></channel_data><variables><direction>inbound</direction>"
    b"<uuid>9f1c1b2e-8f6b-4c57-9d4b-3d3c7b2b7a10</uuid><end_epoch>1738331100</end_epoch><duration>42</duration>"
    b"<billsec>40</billsec><hangup_cause>NORMAL_CLEARING</hangup_cause></variables>"
    b'<callflow dialplan="XML" profile_index="1"><caller_profile><username>1000</username>'
    b"<caller_id_number>%2B15551230001</caller_id_number><destination_number>%2B15551230002</destination_number>"
    b"</caller_profile></callflow></cdr>"
)
UUID = "9f1c1b2e-8f6b-4c57-9d4b-3d3c7b2b7a10"
